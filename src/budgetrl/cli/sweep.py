"""A sweep: jobs one after the other or several at once, and at the end what ran, what failed and why, what came out.

Started again, it comes to the same end: finished runs are skipped, broken ones go on, and its summary is written anew.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from budgetrl.core.errors import RequestError
from budgetrl.launch.slurm import queued_job
from budgetrl.launch.supervisor import INTERRUPTED, POLL_SECONDS, STOPPED
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import count_gpus
from budgetrl.runs.tracking import Tracker
from budgetrl.settings.config import Config, run_dir
from budgetrl.settings.launch import LaunchSettings

NAME = "sweep"
"""Of the summary's files in the sweep's folder."""
Launch = Callable[[Config, RunFolder], int]


@dataclass(eq=False)
class SweepJob:
    """One job, and what became of it."""

    overrides: Sequence[str]
    config: Config | None = None
    """None if the job's configuration was refused."""
    state: str = "waiting"
    """waiting, done, already done, failed, planned (by a dry run), submitted to Slurm or in its queue."""
    why: str = ""
    """Of a failed one."""

    @property
    def folder(self) -> RunFolder | None:
        return RunFolder(run_dir(self.config)) if self.config else None

    def fail(self, why: str) -> None:
        self.state, self.why = "failed", why.splitlines()[0]


class Sweep:
    """Takes the jobs as they are composed, and sums them up when there are no more.

    `begin` plans a run and has it launched; it raises RequestError, and SystemExit if it was told to stop.
    """

    def __init__(self, begin: Callable[[Config, Launch | None], int]) -> None:
        self._begin = begin
        self._queue: list[SweepJob] = []
        self.jobs: list[SweepJob] = []

    def take(self, overrides: Sequence[str], config: Config) -> int:
        """Run a job, or put it into the queue where several run at once. Returns its exit code, 0 if that is open."""
        job = self._add(overrides, config)
        folder = RunFolder(run_dir(config))
        was_done = folder.finished and not config.stage.always_runs
        try:
            code = self._begin(config, self._enqueue if config.launch.at_once > 1 else None)
        except SystemExit as told:  # by a signal; the run may have been done already, the sweep was not
            raise SystemExit(told.code or STOPPED) from None
        except RequestError as error:
            return self._refused(job, str(error))
        if job not in self._queue:
            job.state = "already done" if was_done else _state(job, folder, code)
        return code

    def refuse(self, overrides: Sequence[str], error: RequestError) -> None:
        """A job that cannot be composed is one that failed."""
        self._refused(self._add(overrides, None), str(error))

    def finish(self, folder: Path) -> int:
        """Run the queue, and write and print the summary. Returns 1 if any job failed, else 0.

        Raises SystemExit if the queue was told to stop.
        """
        _run_at_once(self._queue)
        _say(f"\n{self._outcome()}")
        for line in _lines(self.jobs):
            _say("  ".join(line))
        if any(job.state in ("done", "already done", "failed") for job in self.jobs):
            self._summarize(folder)
        return int(any(job.state == "failed" for job in self.jobs))

    def _add(self, overrides: Sequence[str], config: Config | None) -> SweepJob:
        self.jobs.append(SweepJob(overrides, config))
        _say(f"\n== job {len(self.jobs)} ({' '.join(overrides)})")
        return self.jobs[-1]

    def _enqueue(self, config: Config, folder: RunFolder) -> int:
        self._queue.append(self.jobs[-1])
        return 0

    def _refused(self, job: SweepJob, why: str) -> int:
        if job.folder and queued_job(job.folder):
            job.state = "in Slurm's queue"
            return 0
        sys.stderr.write(f"budgetrl: {why}\n")
        job.fail(why)
        return 2

    def _outcome(self) -> str:
        """
        >>> sweep = Sweep(lambda config, launch: 0)
        >>> sweep.jobs = [SweepJob([], state="done"), SweepJob([], state="failed"), SweepJob([], state="done")]
        >>> sweep._outcome()
        '3 jobs: 2 done, 1 failed'
        """
        states = [job.state for job in self.jobs]
        return f"{len(states)} jobs: {', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states))}"

    def _summarize(self, folder: Path) -> None:
        """`sweep.md`, `.tex`, `.csv` and figures, and where numbers have changed, the sweep's own W&B run."""
        from budgetrl.report import tables  # draws, which takes a second to import
        from budgetrl.report.comparison import write_comparison
        from budgetrl.report.sections import Section

        numbers = folder / f"{NAME}.csv"
        before = numbers.read_text() if numbers.exists() else None
        finished = [job.folder.path for job in self.jobs if job.folder and job.folder.finished]
        jobs = Section("Jobs", tables.markdown(["state", "job", "folder", "why"], _lines(self.jobs), numbers=False))
        title = f"{folder.resolve().name}: {self._outcome()}"
        report = write_comparison(finished, folder, name=NAME, title=title, before=[jobs])
        _say(f"report: {report}")
        if numbers.read_text() != before:
            self._track(folder, _numbers(numbers))

    def _track(self, folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
        """A run in the W&B group of the jobs that holds the table and the curves."""
        tracked = [
            job.config.tracking for job in self.jobs if job.config and job.config.stage.workload(job.config).uses_model
        ]
        if not tracked:
            return
        failed = sum(job.state == "failed" for job in self.jobs)
        with Tracker.start(tracked[0], folder, {"jobs": [" ".join(job.overrides) for job in self.jobs]}) as tracker:
            tracker.log_table(NAME, rows, step=0)
            tracker.log_figures({path.stem: path for path in sorted((folder / "figures").glob("*.png"))})
            tracker.log_result({"jobs": len(self.jobs), "failed": failed})


def _state(job: SweepJob, folder: RunFolder, code: int) -> str:
    """What an exit code says of a job; of a failed one the reason is noted."""
    if code:
        job.fail(_last_words(folder) or f"exit code {code}")
        return job.state
    if job.config and job.config.mode == "dry":
        return "planned"
    return "done" if folder.finished else "submitted to Slurm"


def _last_words(folder: RunFolder) -> str:
    """The last line of the log that was written to last, the parent's remark that there is a log aside."""
    for log in sorted(folder.logs.glob("*.log"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines and "; its log is " not in lines[-1]:
            return lines[-1].strip().removeprefix("budgetrl: ")
    return ""


def _lines(jobs: Sequence[SweepJob]) -> list[list[str]]:
    """State, overrides that not all jobs have, folder, and why."""
    common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if len(jobs) > 1 else set()
    return [
        [
            job.state,
            " ".join(override for override in job.overrides if override not in common),
            job.folder.path.name if job.folder else "",
            job.why,
        ]
        for job in jobs
    ]


def _numbers(path: Path) -> list[dict[str, object]]:
    """The rows of a CSV, with numbers as numbers."""

    def value(text: str) -> object:
        try:
            return float(text) if text else None
        except ValueError:
            return text

    with open(path, newline="") as file:
        return [{key: value(text) for key, text in row.items()} for row in csv.DictReader(file)]


# Several at once


def _run_at_once(jobs: Sequence[SweepJob]) -> None:
    """Each job as `python -m budgetrl.launch <folder>`, as many at a time as the first one's `launch.at_once`.

    Raises SystemExit if this process was told to stop meanwhile; the jobs are told, too, and waited for.
    """
    waiting, running, told = deque(jobs), {}, []
    with _passing_signals_on(running, told), lifeline.hold() as line:
        while running or (waiting and not told):
            for slot in range(jobs[0].config.launch.at_once if jobs[0].config else 1):
                if slot not in running and waiting and not told:
                    running[slot] = _start(waiting.popleft(), slot, line)
                elif slot in running and (code := running[slot][1].poll()) is not None:
                    _note_end(running.pop(slot)[0], code)
            time.sleep(POLL_SECONDS)
    if told:
        raise SystemExit(INTERRUPTED if signal.SIGINT in told else STOPPED)


Running = dict[int, tuple[SweepJob, subprocess.Popen[bytes]]]


def _start(job: SweepJob, slot: int, line: Path) -> tuple[SweepJob, subprocess.Popen[bytes]]:
    assert job.config and job.folder
    environment = {**os.environ, **gpus_of(slot, job.config.launch), lifeline.LIFELINE: str(line)}
    command = [sys.executable, "-m", "budgetrl.launch", str(job.folder.path.absolute())]
    job.folder.logs.mkdir(parents=True, exist_ok=True)
    _say(f"started: {' '.join(job.overrides)}, output in {_output(job.folder)}")
    with open(_output(job.folder), "ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    return job, process


def _note_end(job: SweepJob, code: int) -> None:
    assert job.folder
    job.state = _state(job, job.folder, code)
    _say(f"{job.state}: {' '.join(job.overrides)}")


def gpus_of(slot: int, spec: LaunchSettings) -> dict[str, str]:
    """Which of the visible GPUs the jobs of a slot have for themselves; they are shared if there are too few."""
    visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    visible = visible or [str(gpu) for gpu in range(count_gpus())]
    ranks = min(spec.ranks_per_machine(), len(visible))
    chosen = [visible[(slot * ranks + rank) % len(visible)] for rank in range(ranks)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen)} if chosen else {}


@contextmanager
def _passing_signals_on(running: Running, told: list[int]) -> Iterator[None]:
    """Ctrl-C and SIGTERM are noted in `told` and go to all that runs."""

    def hear(signum: int, frame: FrameType | None) -> None:
        told.append(signum)
        for _, process in running.values():
            process.send_signal(signum)

    before = {signum: signal.signal(signum, hear) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _output(folder: RunFolder) -> Path:
    return folder.logs / "output.log"


def _say(text: str) -> None:
    sys.stdout.write(f"{text.rstrip(' ')}\n")
    sys.stdout.flush()
