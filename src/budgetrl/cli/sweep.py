"""Sweeps: execute jobs one after the other or several at a time, and write a summary with their states and results.

A sweep can be started again at any time: it skips finished runs, resumes unfinished ones, and rewrites the summary.
"""

import csv
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from budgetrl.cli.scheduler import ALREADY_DONE, DONE, FAILED, PLANNED, WAITING, Job, Scheduler, print_line
from budgetrl.core.errors import RequestError
from budgetrl.launch.slurm import queued_job
from budgetrl.launch.supervisor import STOPPED
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.tracking import Tracker, TrackingSettings
from budgetrl.settings.config import Config, run_dir

NAME = "sweep"
"""Name of the summary files in the sweep folder, without extension."""
# States of jobs that Slurm executes: submitted by this command, or by an earlier one and not finished yet.
SUBMITTED, QUEUED = "submitted to Slurm", "in Slurm's queue"
Launch = Callable[[Config, RunFolder], int]


@dataclass
class SweepJob:
    """One combination of overrides, and its state."""

    overrides: Sequence[str]
    label: str
    """The overrides that distinguish the job from the others."""
    config: Config | None = None
    """None if the configuration is invalid."""
    run: Job | None = None
    """The run of the job. None if the configuration is invalid."""
    state: str = WAITING
    why: str = ""
    """Why the job failed. Empty unless it did."""

    def fail(self, why: str) -> None:
        """Mark the job as failed."""
        self.state, self.why = FAILED, why.splitlines()[0]

    def copy_run_state(self) -> None:
        """Set the job's state to that of its run."""
        if self.run:
            self.state, self.why = self.run.state, self.run.why


class Sweep:
    """Receives jobs one by one, executes them, and writes the summary.

    Args:
        begin: Plans and launches a run, and returns its exit code. May raise RequestError, or SystemExit if the
            process received a stop signal.
        swept: The keys whose values differ between jobs.
    """

    def __init__(self, begin: Callable[[Config, Launch | None], int], swept: Sequence[str] = ()) -> None:
        self._begin, self._swept = begin, swept
        self._queue: list[SweepJob] = []
        self.jobs: list[SweepJob] = []

    def add(self, overrides: Sequence[str], config: Config) -> int:
        """Execute a job, or queue it if jobs run several at a time.

        Returns the exit code: 0 for a queued job, and 2 if the run cannot be planned or started.
        """
        job = self._new_job(overrides, config)
        folder = RunFolder(run_dir(config))
        was_done = folder.finished and not config.stage.always_runs
        try:
            code = self._begin(config, self._enqueue if config.launch.jobs_at_once() > 1 else None)
        except SystemExit as stop:
            # If the signal came when the run had just finished, the code is 0. The sweep must still end as stopped.
            raise SystemExit(stop.code or STOPPED) from None
        except RequestError as error:
            return self._record_error(job, str(error))
        if job not in self._queue and job.run:
            # Exit code 0 without a result: the run was only submitted to Slurm.
            if config.mode != "dry" and not folder.finished:
                job.run.success = SUBMITTED
            job.run.end(code, was_done)
            job.copy_run_state()
        return code

    def add_invalid(self, overrides: Sequence[str], error: RequestError) -> None:
        """Record a job whose configuration is invalid as failed."""
        self._record_error(self._new_job(overrides, None), str(error))

    def finish(self, folder: Path) -> int:
        """Execute the queue, then print and write the summary. Returns 1 if any job failed, otherwise 0.

        Raises:
            SystemExit: If the process received a stop signal.
        """
        self._run_queue()
        print_line(f"\n{self._counts()}")
        for row in _job_rows(self.jobs):
            print_line("  ".join(row))
        # After a dry run, or if Slurm has all jobs, there is nothing to report yet.
        if any(job.state in (DONE, ALREADY_DONE, FAILED) for job in self.jobs):
            self._summarize(folder)
        return int(any(job.state == FAILED for job in self.jobs))

    def _new_job(self, overrides: Sequence[str], config: Config | None) -> SweepJob:
        """Add a job to the list and print its header. `config` is None if it is invalid."""
        label = " ".join(_swept_overrides(overrides, self._swept))
        added = SweepJob(overrides, label, config)
        self.jobs.append(added)
        where = ""
        if config is not None:
            added.run = _make_run(label, config)
            where = f": {added.run.folder.path}"
        print_line(f"== job {len(self.jobs)} ({label}){where}")
        return added

    def _enqueue(self, config: Config, folder: RunFolder) -> int:
        """Queue the newest job instead of launching it. `begin` has already written its run folder."""
        self._queue.append(self.jobs[-1])
        return 0

    def _run_queue(self) -> None:
        """Execute the queued jobs, each in a process of its own."""
        first = self._queue[0].config if self._queue else None
        if first is None:
            return
        # The number of slots and of GPUs per slot come from the first job: all jobs are expected to agree on them.
        scheduler = Scheduler(first.launch.jobs_at_once(), first.launch.ranks_per_machine())
        try:
            scheduler.run([job.run for job in self._queue if job.run])
        finally:
            for job in self._queue:
                job.copy_run_state()

    def _record_error(self, job: SweepJob, why: str) -> int:
        """Mark a job as failed, print why, and return exit code 2. A job that Slurm already has is not an error."""
        if job.run and queued_job(job.run.folder):
            job.state = QUEUED
            return 0
        sys.stderr.write(f"budgetrl: {why}\n")
        job.fail(why)
        return 2

    def _counts(self) -> str:
        """Return the number of jobs in each state.

        >>> sweep = Sweep(lambda config, launch: 0)
        >>> sweep.jobs = [SweepJob([], "", state=state) for state in ("done", "failed", "done")]
        >>> sweep._counts()
        '3 jobs: 2 done, 1 failed'
        """
        counts = Counter(job.state for job in self.jobs)  # keeps the order in which states first appear
        parts = [f"{count} {state}" for state, count in counts.items()]
        return f"{len(self.jobs)} jobs: {', '.join(parts)}"

    def _summarize(self, folder: Path) -> None:
        """Write `sweep.md`, `.tex`, `.csv` and figures. If the results have changed, log them to W&B as well."""
        from budgetrl.report import tables  # imports matplotlib, which takes a second
        from budgetrl.report.comparison import write_comparison
        from budgetrl.report.sections import Section

        numbers = folder / f"{NAME}.csv"
        before = numbers.read_text() if numbers.exists() else None
        finished: list[Path] = []
        for job in self.jobs:
            if job.run and job.run.folder.finished:
                finished.append(job.run.folder.path)
        columns = ["state", "job", "folder", "why"]
        jobs = Section("Jobs", tables.markdown(columns, _job_rows(self.jobs), numbers=False))
        title = f"{folder.resolve().name}: {self._counts()}"
        report = write_comparison(finished, folder, name=NAME, title=title, before=[jobs])
        print_line(f"report: {report}")
        if numbers.read_text() != before:
            self._track(folder, _read_csv(numbers))

    def _tracking(self) -> TrackingSettings | None:
        """Return the tracking settings of the first job that runs a model, or None if no job does."""
        for job in self.jobs:
            if job.config and job.config.stage.workload(job.config).uses_model:
                return job.config.tracking
        return None

    def _track(self, folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
        """Log the table and the figures of the sweep as a W&B run of its own, in the W&B group of its jobs."""
        tracking = self._tracking()
        if tracking is None:
            return
        failed = sum(job.state == FAILED for job in self.jobs)
        config = {"jobs": [" ".join(job.overrides) for job in self.jobs]}
        figures = sorted((folder / "figures").glob("*.png"))
        with Tracker.start(tracking, folder, config) as tracker:
            tracker.log_table(NAME, rows, step=0)
            tracker.log_figures({path.stem: path for path in figures})
            tracker.log_result({"jobs": len(self.jobs), "failed": failed})


def _make_run(label: str, config: Config) -> Job:
    """Return the run of a configuration. Its command reads everything from the run folder."""
    folder = RunFolder(run_dir(config))
    command = [sys.executable, "-m", "budgetrl.launch", str(folder.path.absolute())]
    success = PLANNED if config.mode == "dry" else DONE
    return Job(label, folder, command, folder.logs / "output.log", success=success)


def _swept_overrides(overrides: Sequence[str], swept: Sequence[str]) -> list[str]:
    """Return the overrides of swept keys, or all overrides if none is swept.

    >>> _swept_overrides(["stage=grpo", "+reward.r_b=-0.2"], ["reward.r_b"])
    ['+reward.r_b=-0.2']
    """
    chosen: list[str] = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in swept:
            chosen.append(override)
    return chosen or list(overrides)


def _job_rows(jobs: Sequence[SweepJob]) -> list[list[str]]:
    """Return a table row per job: its state, the overrides that not all jobs have, its folder, and why it failed."""
    common: set[str] = set()
    if len(jobs) > 1:  # a single job shows all its overrides
        common = set(jobs[0].overrides)
        for job in jobs:
            common &= set(job.overrides)
    rows: list[list[str]] = []
    for job in jobs:
        own = [override for override in job.overrides if override not in common]
        folder = job.run.folder.path.name if job.run else ""
        rows.append([job.state, " ".join(own), folder, job.why])
    return rows


def _read_csv(path: Path) -> list[dict[str, object]]:
    """Return the rows of a CSV file. Numbers become floats, and empty cells None."""
    rows: list[dict[str, object]] = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            rows.append({key: _cell_value(text) for key, text in row.items()})
    return rows


def _cell_value(text: str) -> object:
    try:
        return float(text) if text else None
    except ValueError:
        return text
