"""The one scheduler of runs: jobs as processes, some at a time, each after those that it needs.

A sweep whose jobs run several at once hands them over, and so do the rows of `experiments/`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from budgetrl.launch.supervisor import INTERRUPTED, POLL_SECONDS, STOPPED
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import count_gpus

WAITING, RUNNING, DONE, ALREADY_DONE, FAILED = "waiting", "running", "done", "already done", "failed"
PLANNED = "planned"
"""What has been done about a job of a dry run."""


@dataclass(eq=False)
class Job:
    """A run to make, and what became of it."""

    label: str
    """What the user knows it by."""
    folder: RunFolder
    command: Sequence[str] = ()
    """What a process runs. The run is resumed if it was begun, and left alone if it is finished."""
    log: Path | None = None
    """Where its output goes; None for the terminal."""
    needs: Sequence["Job"] = ()
    """Jobs that have to be done before."""
    success: str = DONE
    """The state that exit code 0 stands for."""
    state: str = WAITING
    why: str = ""
    """The reason where the job has failed."""

    def fail(self, why: str) -> None:
        """Note that the job has failed."""
        self.state, self.why = FAILED, why.splitlines()[0] if why else ""

    def end(self, code: int, was_finished: bool = False) -> None:
        """Note what an exit code says of the job."""
        if code:
            self.fail(self.last_words() or f"exit code {code}")
        else:
            self.state = ALREADY_DONE if was_finished else self.success

    def last_words(self) -> str:
        """The last line of the log that was written to last, the parent's remark that there is a log aside."""
        logs = list(self.folder.logs.glob("*.log"))
        if self.log and self.log.exists():
            logs.append(self.log)
        for log in sorted(logs, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            if lines and "; its log is " not in lines[-1]:
                return lines[-1].strip().removeprefix("budgetrl: ")
        return ""


@dataclass
class _Running:
    """A job and its process."""

    job: Job
    process: subprocess.Popen[bytes]
    was_finished: bool


class Scheduler:
    """Runs jobs as processes, up to `at_once` at a time; each has `gpus_per_job` of the visible GPUs for itself."""

    def __init__(self, at_once: int, gpus_per_job: int) -> None:
        self._gpus_per_job = gpus_per_job
        self._slots: list[_Running | None] = [None] * at_once
        self._signals: list[int] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Bring all waiting jobs to an end, in order as far as their needs allow. A failed one stops only those
        that need it.

        Raises SystemExit if this process was told to stop meanwhile; the jobs are told, too, and waited for.
        """
        waiting = [job for job in jobs if job.state == WAITING]
        with self._passing_signals_on(), lifeline.open_pipe() as line:
            while any(self._slots) or (waiting and not self._signals):
                self._note_ends()
                if not self._signals:
                    waiting = _without_hopeless(waiting)
                    self._fill_slots(waiting, line)
                time.sleep(POLL_SECONDS)
        if self._signals:
            raise SystemExit(INTERRUPTED if signal.SIGINT in self._signals else STOPPED)

    def _fill_slots(self, waiting: list[Job], line: Path) -> None:
        """Start jobs whose needs are met in the slots that are free, and take them off the list."""
        for slot, occupied in enumerate(self._slots):
            ready = next((job for job in waiting if _is_ready(job)), None)
            if occupied is None and ready is not None:
                waiting.remove(ready)
                self._slots[slot] = self._start(ready, slot, line)

    def _note_ends(self) -> None:
        for slot, running in enumerate(self._slots):
            if running is None:
                continue
            code = running.process.poll()
            if code is not None:
                self._slots[slot] = None
                running.job.end(code, running.was_finished)
                _tell_end(running.job)

    def _start(self, job: Job, slot: int, line: Path) -> _Running:
        was_finished = job.folder.finished
        environment = {**os.environ, **gpus_of(slot, self._gpus_per_job), lifeline.LIFELINE: str(line)}
        if job.log is None:
            say(f"started: {job.label}")
            process = _process(job.command, environment, None)
        else:
            say(f"started: {job.label}, output in {job.log}")
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with open(job.log, "ab") as log:
                process = _process(job.command, environment, log.fileno())
        job.state = RUNNING
        return _Running(job, process, was_finished)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are noted and go to all that runs."""

        def hear(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)
            for running in self._slots:
                if running is not None:
                    running.process.send_signal(signum)

        before = {signum: signal.signal(signum, hear) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


def visible_gpus() -> list[str]:
    """The GPUs that processes started from here may use, as CUDA_VISIBLE_DEVICES names them."""
    named = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    return named or [str(gpu) for gpu in range(count_gpus())]


def gpus_of(slot: int, gpus_per_job: int) -> dict[str, str]:
    """Which of the visible GPUs the jobs of a slot have for themselves; they are shared if there are too few."""
    visible = visible_gpus()
    count = min(gpus_per_job, len(visible))
    chosen = [visible[(slot * count + i) % len(visible)] for i in range(count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen)} if chosen else {}


def say(text: str) -> None:
    """A line for the user."""
    sys.stdout.write(f"{text.rstrip(' ')}\n")
    sys.stdout.flush()


def _is_ready(job: Job) -> bool:
    return all(needed.state in (needed.success, ALREADY_DONE) for needed in job.needs)


def _without_hopeless(waiting: list[Job]) -> list[Job]:
    """The jobs less those that need a failed one, which fail too."""
    left = []
    for job in waiting:
        failed = [needed.label for needed in job.needs if needed.state == FAILED]
        if failed:
            job.fail(f"needs {', '.join(failed)}, which failed")
            _tell_end(job)
        else:
            left.append(job)
    return left


def _tell_end(job: Job) -> None:
    why = f" ({job.why})" if job.why else ""
    log = f", see {job.log}" if job.state == FAILED and job.log and job.log.exists() else ""
    say(f"{job.state}: {job.label}{why}{log}")


def _process(command: Sequence[str], environment: dict[str, str], output: int | None) -> subprocess.Popen[bytes]:
    """A session of its own: the terminal's Ctrl-C reaches only us, and we pass it on."""
    return subprocess.Popen(
        list(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
