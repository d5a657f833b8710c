"""Bring prepared run folders to their end, or to where they are to be killed: one process, a fork per rank.

As a script: `python many_runs.py jobs.json`, which prints the exit codes of each job's ranks as JSON.
"""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from forked import import_what_ranks_need, run_ranks

HERE = Path(__file__).resolve().parent
QUIET = ["tracking=none", "launch.threads=1", "launch.ranks=1"]


@dataclass(frozen=True)
class End:
    """Where a run is sent a signal by itself: at the n-th call of a function, when that returns."""

    function: str
    """`module:name`, such as "budgetrl.runs.folder:RunFolder.append_metrics"."""
    call: int = 1
    before: bool = False
    """Before that call instead of after it."""
    signum: int = signal.SIGKILL


@dataclass(frozen=True)
class Start:
    """A run folder to start, or to resume."""

    folder: str
    ranks: int = 1
    end: End | None = None
    report: bool = False
    """Whether its figures are drawn, which takes longer than all else in a run as small as these."""


def prepare(folder: Path, *overrides: str) -> Path:
    """Have the entrypoint compose and freeze a run, without starting its ranks; returns its folder."""
    from budgetrl.cli import main as entry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "launch", lambda config, folder: 0)
        assert call_entrypoint(*QUIET, f"run.dir={folder}", *overrides) == 0
    return folder


def call_entrypoint(*argv: str) -> int:
    """`python -m budgetrl`, in this process; returns the exit code."""
    from budgetrl.cli import main as entry

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(sys, "argv", ["budgetrl", *argv])
        entry.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def start_all(starts: Sequence[Start], scratch: Path) -> list[list[int]]:
    """Do all in one process; returns the exit codes of the ranks of each."""
    jobs = scratch / "jobs.json"
    jobs.write_text(json.dumps([asdict(start) for start in starts]))
    command = [sys.executable, "-W", "ignore", __file__, str(jobs)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


def finish_all(starts: Sequence[Start], scratch: Path) -> None:
    """The same for runs that are to end well."""
    for start, codes in zip(starts, start_all(starts, scratch), strict=True):
        assert set(codes) == {0}, log_of(start.folder)


def log_of(folder: str | Path) -> str:
    """The last words of a run's leading rank."""
    return (Path(folder) / "logs" / "rank.0").read_text()[-3000:]


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl less what no two runs have in common."""
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def _run(folder: Path, end: End | None, report: bool) -> int:
    from budgetrl import worker
    from budgetrl.runs.stop import Stop

    if end:
        _arm(end)
    if not report:
        worker._report = lambda *_: None
    stop = Stop()
    stop.listen()
    return worker._exit_code(folder, stop)


def _arm(end: End) -> None:
    """Replace the function by one that counts its calls and sends the signal."""
    module, _, path = end.function.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == end.call and end.before:
            os.kill(os.getpid(), end.signum)
        result = original(*args, **kwargs)
        if calls == end.call and not end.before:
            os.kill(os.getpid(), end.signum)
        return result

    setattr(owner, name, counted)


def main() -> None:
    """Start what the file lists, one after the other."""
    import_what_ranks_need()
    codes = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        folder = Path(job["folder"])
        end = End(**job["end"]) if job["end"] else None
        work = functools.partial(_run, folder, end, job["report"])
        codes.append(run_ranks(job["ranks"], work, folder / "logs" / "rank"))
    print(json.dumps(codes))  # noqa: T201


if __name__ == "__main__":
    main()
