"""The scheduler of runs: executes jobs as processes, several at a time, each after the jobs that it depends on.

It executes sweeps with `launch.at_once` above 1, and the rows of `experiments/`.
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

from budgetrl.launch.supervisor import INTERRUPTED, LOG_REFERENCE, POLL_SECONDS, STOPPED
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import count_gpus

WAITING, RUNNING, DONE, ALREADY_DONE, FAILED = "waiting", "running", "done", "already done", "failed"
PLANNED = "planned"
"""The final state of a job in a dry run."""


@dataclass(eq=False)  # compared by identity: two jobs can have equal fields
class Job:
    """A run to execute, and its state."""

    label: str
    """The name shown to the user."""
    folder: RunFolder
    command: Sequence[str] = ()
    """The command to execute. It resumes an unfinished run, and does nothing for a finished one."""
    log: Path | None = None
    """The file for its output. None: the terminal."""
    needs: Sequence["Job"] = ()
    """Jobs that must succeed first."""
    success: str = DONE
    """The state after exit code 0."""
    state: str = WAITING
    why: str = ""
    """Why the job failed. Empty unless it did."""

    def fail(self, why: str) -> None:
        """Mark the job as failed."""
        self.state, self.why = FAILED, why.splitlines()[0] if why else ""

    def end(self, code: int, was_finished: bool = False) -> None:
        """Set the final state from an exit code. `was_finished`: whether the run was already done before the job."""
        if code:
            self.fail(self.last_log_line() or f"exit code {code}")
        else:
            self.state = ALREADY_DONE if was_finished else self.success

    def last_log_line(self) -> str:
        """Return the last line of the newest log, usually the error. Empty if there is none."""
        logs = list(self.folder.logs.glob("*.log"))
        if self.log and self.log.exists():
            logs.append(self.log)
        for log in sorted(logs, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            # A line that only refers to another log, which has the error: skip it.
            if lines and LOG_REFERENCE not in lines[-1]:
                return lines[-1].strip().removeprefix("budgetrl: ")
        return ""


@dataclass
class _Running:
    """A running job and its process."""

    job: Job
    process: subprocess.Popen[bytes]
    was_finished: bool


class Scheduler:
    """Executes jobs as processes, up to `at_once` at a time, each on `gpus_per_job` GPUs of its own."""

    def __init__(self, at_once: int, gpus_per_job: int) -> None:
        self._gpus_per_job = gpus_per_job
        self._slots: list[_Running | None] = [None] * at_once
        self._signals: list[int] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Execute all waiting jobs, in order as far as their dependencies allow.

        If a job fails, the jobs that depend on it fail too. All others still run.

        Raises:
            SystemExit: If this process received Ctrl-C or SIGTERM, after the running jobs received it too and ended.
        """
        waiting = [job for job in jobs if job.state == WAITING]
        with self._forwarding_signals(), lifeline.open_pipe() as pipe:
            # After a signal, start nothing new, but wait for the running jobs to save and exit.
            while any(self._slots) or (waiting and not self._signals):
                self._record_finished()
                if not self._signals:
                    waiting = _fail_blocked(waiting)
                    self._fill_slots(waiting, pipe)
                time.sleep(POLL_SECONDS)
        if self._signals:
            raise SystemExit(INTERRUPTED if signal.SIGINT in self._signals else STOPPED)

    def _fill_slots(self, waiting: list[Job], pipe: Path) -> None:
        """Start jobs that are ready in free slots, and remove them from `waiting`."""
        for slot, occupied in enumerate(self._slots):
            ready = next((job for job in waiting if _is_ready(job)), None)
            if occupied is None and ready is not None:
                waiting.remove(ready)
                self._slots[slot] = self._start(ready, slot, pipe)

    def _record_finished(self) -> None:
        """Free the slots of processes that have exited, and print the final states of their jobs."""
        for slot, running in enumerate(self._slots):
            if running is None:
                continue
            code = running.process.poll()
            if code is not None:
                self._slots[slot] = None
                running.job.end(code, running.was_finished)
                _print_final_state(running.job)

    def _start(self, job: Job, slot: int, pipe: Path) -> _Running:
        # A finished run is started too: `python -m budgetrl` then checks that its settings are still the same.
        was_finished = job.folder.finished
        environment = {**os.environ, **gpus_of(slot, self._gpus_per_job), lifeline.LIFELINE: str(pipe)}
        if job.log is None:
            print_line(f"started: {job.label}")
            process = _process(job.command, environment, None)
        else:
            print_line(f"started: {job.label}, output in {job.log}")
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with open(job.log, "ab") as log:
                process = _process(job.command, environment, log.fileno())
        job.state = RUNNING
        return _Running(job, process, was_finished)

    @contextmanager
    def _forwarding_signals(self) -> Iterator[None]:
        """Record SIGINT (Ctrl-C) and SIGTERM, and forward them to all running jobs."""

        def forward(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)
            for running in self._slots:
                if running is not None:
                    running.process.send_signal(signum)

        old_handlers = {signum: signal.signal(signum, forward) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in old_handlers.items():
                signal.signal(signum, handler)


def visible_gpus() -> list[str]:
    """Return the GPUs that jobs may use, by their names in CUDA_VISIBLE_DEVICES."""
    named = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    return named or [str(gpu) for gpu in range(count_gpus())]


def gpus_of(slot: int, gpus_per_job: int) -> dict[str, str]:
    """Return the environment variable that gives a slot its own GPUs. Slots share GPUs if there are too few.

    With 4 GPUs and 2 per job, slot 0 gets "0,1", slot 1 gets "2,3", and slot 2 gets "0,1" again.
    """
    visible = visible_gpus()
    count = min(gpus_per_job, len(visible))
    chosen = [visible[(slot * count + i) % len(visible)] for i in range(count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen)} if chosen else {}


def print_line(text: str) -> None:
    """Print a line without trailing spaces, and flush so that it appears before the output of child processes."""
    sys.stdout.write(f"{text.rstrip(' ')}\n")
    sys.stdout.flush()


def _is_ready(job: Job) -> bool:
    return all(needed.state in (needed.success, ALREADY_DONE) for needed in job.needs)


def _fail_blocked(waiting: list[Job]) -> list[Job]:
    """Mark the jobs that depend on a failed one as failed, and return the others."""
    left: list[Job] = []
    for job in waiting:
        failed = [needed.label for needed in job.needs if needed.state == FAILED]
        if failed:
            job.fail(f"needs {', '.join(failed)}, which failed")
            _print_final_state(job)
        else:
            left.append(job)
    return left


def _print_final_state(job: Job) -> None:
    why = f" ({job.why})" if job.why else ""
    log = f", see {job.log}" if job.state == FAILED and job.log and job.log.exists() else ""
    print_line(f"{job.state}: {job.label}{why}{log}")


def _process(command: Sequence[str], environment: dict[str, str], output: int | None) -> subprocess.Popen[bytes]:
    """Start a process in a new session."""
    return subprocess.Popen(
        list(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # Ctrl-C in the terminal then reaches only this process, which forwards it once.
        start_new_session=True,
    )
