"""One rank: read the frozen config of a run folder and run its stage. `python -m budgetrl.worker <run folder>`.

Ranks never compose a configuration. Exit codes: 0 done, 1 failed, 2 wrong input found late, 130 interrupted,
143 stopped as told after saving.
"""

import logging
import os
import random
import sys
import warnings
from pathlib import Path

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.core.seeds import derive_seed
from budgetrl.runs import lifeline
from budgetrl.runs.context import Context
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop, Stopped
from budgetrl.runs.tracking import Tracker, TrackingSettings
from budgetrl.runs.world import SingleProcess, World
from budgetrl.settings.config import Config, read_config, to_mapping
from budgetrl.stages import execute


def main() -> None:
    """Run a rank and leave the process."""
    lifeline.die_with_parent()
    _adopt_slurm_rank()
    stop = Stop()
    stop.listen()
    code = _guarded(Path(sys.argv[1]), stop)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: after a failure, closing down the communication would wait for ranks that are gone.
    os._exit(code)


def run_rank(path: Path, config: Config, stop: Stop) -> None:
    """Run the stage on this rank; the leading one writes result.json at the end.

    A stage that runs no model is the work of one process, which joins nobody: ranks but the first have nothing to do.
    """
    uses_model = config.stage.workload(config).uses_model
    if not uses_model and int(os.environ.get("RANK", "0")) > 0:
        return
    world = _join_ranks(config.seed) if uses_model else SingleProcess()
    folder = RunFolder(path, writes=world.is_main)
    tracking = config.tracking if uses_model else TrackingSettings(name="none")
    with Tracker.start(tracking, path, to_mapping(config), world.rank) as tracker:
        ctx = Context(world, folder, tracker, Progress(shown=world.is_main), stop)
        execute(config, ctx, before_result=lambda result: _report(config, result, ctx))


def _join_ranks(seed: int) -> World:
    """Join the other ranks, with torch seeded; only stages that run a model need it, and wait for its import."""
    from budgetrl.training.distributed import TorchWorld, disable_progress_bars

    disable_progress_bars()
    world = TorchWorld.join()
    seed_everything(seed, world.rank)
    return world


def _report(config: Config, result: dict[str, float], ctx: Context) -> None:
    """Write report.md and the figures, where the stage has them."""
    if not (ctx.world.is_main and config.stage.reported):
        return
    from budgetrl.report.report import write_report

    report = write_report(ctx.folder.path, result)
    ctx.tracker.log_figures({figure.stem: figure for figure in sorted(ctx.folder.figures.glob("*.png"))})
    ctx.print(f"report: {report}")


def seed_everything(seed: int, rank: int) -> None:
    """Seed the global generators, different on each rank. What must not depend on ranks has seeds of its own."""
    import numpy as np
    import torch

    value = derive_seed(seed, "rank", rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def _guarded(path: Path, stop: Stop) -> int:
    """Run the rank; any end becomes an exit code."""
    # DeepSpeed's own calls, at every step of ZeRO 3.
    warnings.filterwarnings("ignore", r"`torch\.distributed\..*is deprecated", FutureWarning)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("budgetrl").setLevel(logging.INFO)  # not of libraries, which report each request to the Hub
    try:
        config = read_config(path / "config.yaml")
        _keep_own_log(config, path)
        run_rank(path, config, stop)
    except Stopped:
        return 143
    except KeyboardInterrupt:
        return 130
    except RequestError as error:
        sys.stderr.write(f"budgetrl: {error}\n")
        return 2
    except Unavailable as error:
        sys.stderr.write(f"budgetrl: {error}\n")
        return 1
    except Exception:
        logging.exception("the run failed")
        return 1
    return 0


def _keep_own_log(config: Config, path: Path) -> None:
    """DeepSpeed's launcher mixes the ranks' output: all but the first write to their own file."""
    rank = int(os.environ.get("RANK", "0"))
    if config.launch.mixes_output and rank > 0:
        log = RunFolder(path).log(rank)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())


def _adopt_slurm_rank() -> None:
    """Below srun, SLURM says which rank this is."""
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ and "MASTER_ADDR" in os.environ:
        for ours, theirs in _SLURM_VARIABLES.items():
            os.environ[ours] = os.environ[theirs]


_SLURM_VARIABLES = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}


if __name__ == "__main__":
    main()
