"""Ranks as forks of one process, which has paid for importing torch and DeepSpeed once.

A fork has its own DeepSpeed, communication, signal handlers and random state, as a rank that the launcher
starts has; only the seconds of importing are shared. Not for the test process itself, which has threads.
"""

import contextlib
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], int | None]


def import_what_ranks_need() -> None:
    """So that forks find it imported."""
    import deepspeed  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401

    import budgetrl.worker  # noqa: F401
    from budgetrl.settings.stages.registry import stage_class, stage_names

    for name in stage_names():
        importlib.import_module(stage_class(name).executor)


def run_ranks(ranks: int, work: Work, log: Path) -> list[int]:
    """Run `work` in a fork per rank, with the environment a launcher gives it; returns the exit codes.

    A code below 0 is the signal that ended the rank. What rank r prints goes to `log`.r.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "DS_ACCELERATOR": "cpu"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = []
    for rank in range(ranks):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
            os._exit(_work(work, Path(f"{log}.{rank}")))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _work(work: Work, log: Path) -> int:
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    with contextlib.suppress(SystemExit):
        try:
            code = work() or 0
        except BaseException:
            traceback.print_exc()
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
