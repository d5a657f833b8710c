"""A sweep: jobs one after the other or several at once, and at the end what ran, what failed and why, what came out.

Started again, it comes to the same end: finished runs are skipped, broken ones go on, and its summary is written anew.
"""

import csv
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from budgetrl.cli.scheduler import ALREADY_DONE, DONE, FAILED, PLANNED, WAITING, Job, Scheduler, say
from budgetrl.core.errors import RequestError
from budgetrl.launch.slurm import queued_job
from budgetrl.launch.supervisor import STOPPED
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.tracking import Tracker, TrackingSettings
from budgetrl.settings.config import Config, run_dir

NAME = "sweep"
"""Name of the summary's files in the sweep's folder."""
SUBMITTED, QUEUED = "submitted to Slurm", "in Slurm's queue"
Launch = Callable[[Config, RunFolder], int]


@dataclass
class SweepJob:
    """One combination of overrides, and what became of it."""

    overrides: Sequence[str]
    label: str
    """The overrides in which it differs from the other jobs."""
    config: Config | None = None
    """None if the job's configuration was refused."""
    job: Job | None = None
    """Its run; None if the job's configuration was refused."""
    state: str = WAITING
    why: str = ""
    """The reason where it has failed."""

    def fail(self, why: str) -> None:
        self.state, self.why = FAILED, why.splitlines()[0]

    def take_over(self) -> None:
        """Note what became of the run."""
        if self.job:
            self.state, self.why = self.job.state, self.job.why


class Sweep:
    """Takes the jobs as they are composed, and sums them up when there are no more.

    `begin` plans a run and has it launched; it raises RequestError, and SystemExit if it was told to stop. `swept` are
    the keys in which jobs differ.
    """

    def __init__(self, begin: Callable[[Config, Launch | None], int], swept: Sequence[str] = ()) -> None:
        self._begin, self._swept = begin, swept
        self._queue: list[SweepJob] = []
        self.jobs: list[SweepJob] = []

    def take(self, overrides: Sequence[str], config: Config) -> int:
        """Run a job, or put it into the queue where several run at once. Returns its exit code, 0 if that is open."""
        taken = self._add(overrides, config)
        folder = RunFolder(run_dir(config))
        was_done = folder.finished and not config.stage.always_runs
        try:
            code = self._begin(config, self._enqueue if config.launch.jobs_at_once() > 1 else None)
        except SystemExit as told:  # by a signal; the run may have been done already, the sweep was not
            raise SystemExit(told.code or STOPPED) from None
        except RequestError as error:
            return self._refused(taken, str(error))
        if taken not in self._queue and taken.job:
            if config.mode != "dry" and not folder.finished:
                taken.job.success = SUBMITTED
            taken.job.end(code, was_done)
            taken.take_over()
        return code

    def refuse(self, overrides: Sequence[str], error: RequestError) -> None:
        """A job that cannot be composed is one that failed."""
        self._refused(self._add(overrides, None), str(error))

    def finish(self, folder: Path) -> int:
        """Run the queue, and write and print the summary. Returns 1 if any job failed, else 0.

        Raises SystemExit if the queue was told to stop.
        """
        self._run_queue()
        say(f"\n{self._outcome()}")
        for line in _lines(self.jobs):
            say("  ".join(line))
        if any(job.state in (DONE, ALREADY_DONE, FAILED) for job in self.jobs):
            self._summarize(folder)
        return int(any(job.state == FAILED for job in self.jobs))

    def _add(self, overrides: Sequence[str], config: Config | None) -> SweepJob:
        label = " ".join(_differing(overrides, self._swept))
        added = SweepJob(overrides, label, config)
        self.jobs.append(added)
        where = ""
        if config is not None:
            added.job = _run_of(label, config)
            where = f": {added.job.folder.path}"
        say(f"== job {len(self.jobs)} ({label}){where}")
        return added

    def _enqueue(self, config: Config, folder: RunFolder) -> int:
        self._queue.append(self.jobs[-1])
        return 0

    def _run_queue(self) -> None:
        """Each job of the queue in a process, as many at a time as the first one's `launch.at_once`."""
        first = self._queue[0].config if self._queue else None
        if first is None:
            return
        scheduler = Scheduler(first.launch.jobs_at_once(), first.launch.ranks_per_machine())
        try:
            scheduler.run([queued.job for queued in self._queue if queued.job])
        finally:
            for queued in self._queue:
                queued.take_over()

    def _refused(self, job: SweepJob, why: str) -> int:
        if job.job and queued_job(job.job.folder):
            job.state = QUEUED
            return 0
        sys.stderr.write(f"budgetrl: {why}\n")
        job.fail(why)
        return 2

    def _outcome(self) -> str:
        """
        >>> sweep = Sweep(lambda config, launch: 0)
        >>> sweep.jobs = [SweepJob([], "", state=state) for state in ("done", "failed", "done")]
        >>> sweep._outcome()
        '3 jobs: 2 done, 1 failed'
        """
        counts = Counter(job.state for job in self.jobs)  # in the order in which states came up
        each = [f"{count} {state}" for state, count in counts.items()]
        return f"{len(self.jobs)} jobs: {', '.join(each)}"

    def _summarize(self, folder: Path) -> None:
        """`sweep.md`, `.tex`, `.csv` and figures, and where numbers have changed, the sweep's own W&B run."""
        from budgetrl.report import tables  # draws, which takes a second to import
        from budgetrl.report.comparison import write_comparison
        from budgetrl.report.sections import Section

        numbers = folder / f"{NAME}.csv"
        before = numbers.read_text() if numbers.exists() else None
        finished: list[Path] = []
        for job in self.jobs:
            if job.job and job.job.folder.finished:
                finished.append(job.job.folder.path)
        jobs = Section("Jobs", tables.markdown(["state", "job", "folder", "why"], _lines(self.jobs), numbers=False))
        title = f"{folder.resolve().name}: {self._outcome()}"
        report = write_comparison(finished, folder, name=NAME, title=title, before=[jobs])
        say(f"report: {report}")
        if numbers.read_text() != before:
            self._track(folder, _numbers(numbers))

    def _tracking(self) -> TrackingSettings | None:
        """The settings of the first job that is tracked; None where no job runs a model."""
        for job in self.jobs:
            if job.config and job.config.stage.workload(job.config).uses_model:
                return job.config.tracking
        return None

    def _track(self, folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
        """A run in the W&B group of the jobs that holds the table and the curves."""
        tracking = self._tracking()
        if tracking is None:
            return
        failed = sum(job.state == FAILED for job in self.jobs)
        with Tracker.start(tracking, folder, {"jobs": [" ".join(job.overrides) for job in self.jobs]}) as tracker:
            tracker.log_table(NAME, rows, step=0)
            tracker.log_figures({path.stem: path for path in sorted((folder / "figures").glob("*.png"))})
            tracker.log_result({"jobs": len(self.jobs), "failed": failed})


def _run_of(label: str, config: Config) -> Job:
    """The run of a configuration, as a process that goes on with what lies in its folder."""
    folder = RunFolder(run_dir(config))
    command = [sys.executable, "-m", "budgetrl.launch", str(folder.path.absolute())]
    success = PLANNED if config.mode == "dry" else DONE
    return Job(label, folder, command, folder.logs / "output.log", success=success)


def _differing(overrides: Sequence[str], swept: Sequence[str]) -> list[str]:
    """The overrides of swept keys, or all of them if none is swept.

    >>> _differing(["stage=grpo", "+reward.r_b=-0.2"], ["reward.r_b"])
    ['+reward.r_b=-0.2']
    """
    chosen = [override for override in overrides if override.lstrip("+~").partition("=")[0] in swept]
    return chosen or list(overrides)


def _lines(jobs: Sequence[SweepJob]) -> list[list[str]]:
    """State, overrides that not all jobs have, folder, and why."""
    common: set[str] = set()
    if len(jobs) > 1:
        common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    lines = []
    for job in jobs:
        own = [override for override in job.overrides if override not in common]
        lines.append([job.state, " ".join(own), job.job.folder.path.name if job.job else "", job.why])
    return lines


def _numbers(path: Path) -> list[dict[str, object]]:
    """The rows of a CSV, with numbers as numbers."""

    def value(text: str) -> object:
        try:
            return float(text) if text else None
        except ValueError:
            return text

    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            rows.append({key: value(text) for key, text in row.items()})
    return rows
