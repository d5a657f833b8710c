"""Run the rows of an experiment: `run.py experiments/mini --rows budget_cosine budget_gauss --seeds 0 1 2`.

An experiment is a folder with `rows.yaml`. `common` holds the overrides of all rows, and `rows` those of
each row. `like: 1_5b` includes the rows of the experiment `1_5b` beside it. One row with one seed is one run,
`runs/<experiment>/<row>-s<seed>`. A row may start from another row, whose folder it names in braces:
`model.path={cold_short}/checkpoints/last` is the run with the same seed, which is made first.

Finished runs are skipped, interrupted runs are resumed, and a failed run does not stop the others.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from budgetrl.cli.scheduler import ALREADY_DONE, DONE, FAILED, PLANNED, WAITING, Job, Scheduler, visible_gpus
from budgetrl.core.errors import RequestError
from budgetrl.runs.folder import RunFolder

DRY = "mode=dry"


@dataclass(frozen=True)
class Experiment:
    """The contents of `rows.yaml`."""

    name: str
    common: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    def folder(self, row: str, seed: int) -> Path:
        """Return the run folder of a row."""
        return Path("runs") / self.name / f"{row}-s{seed}"

    def command(self, row: str, seed: int) -> list[str]:
        """Return the overrides of one run."""
        # A row with its own stage (`initial: [stage=evaluate]`) cannot take the `stage.` keys of the common stage.
        own_stage = any(override.startswith(("stage=", "experiment=")) for override in self.rows[row])
        overrides = list(self.common)
        if own_stage:
            overrides = [override for override in overrides if not override.startswith("stage.")]
        # {cold_short} becomes the folder of that row with the same seed.
        for override in self.rows[row]:
            overrides.append(_BRACES.sub(lambda found: str(self.folder(found[1], seed)), override))
        return [*overrides, f"seed={seed}"]

    def needs(self, row: str) -> list[str]:
        """Return the rows that a row starts from."""
        if row not in self.rows:
            raise RequestError(f"experiments/{self.name}: there is no row {row}; there are {', '.join(self.rows)}")
        needed: list[str] = []
        for override in self.rows[row]:
            needed += _BRACES.findall(override)
        return needed

    def with_needs(self, rows: Iterable[str]) -> list[str]:
        """Return the rows and the rows they start from, each after those that it needs.

        >>> Experiment("x", [], {"base": [], "a": [], "b": ["model.path={base}/last"]}).with_needs(["b", "a"])
        ['base', 'b', 'a']
        """
        ordered: list[str] = []
        for row in rows:
            for one in [*self.with_needs(self.needs(row)), row]:
                if one not in ordered:
                    ordered.append(one)
        return ordered


_BRACES = re.compile(r"\{(\w+)\}")


def read_experiment(folder: Path) -> Experiment:
    """Read the experiment in a folder.

    Raises:
        RequestError: the folder has no `rows.yaml`.
    """
    path = folder / "rows.yaml"
    if not path.is_file():
        others = ", ".join(sorted(found.parent.name for found in folder.parent.glob("*/rows.yaml")))
        raise RequestError(f"{folder}: there is no {path}; experiments with rows are {others or 'none'}")
    settings = OmegaConf.load(path)
    rows = read_experiment(folder.with_name(settings.like)).rows if "like" in settings else {}
    own = OmegaConf.to_container(settings.get("rows", OmegaConf.create({})))
    return Experiment(folder.resolve().name, list(settings.common), {**rows, **own})


def run_rows(
    experiment: Experiment, rows: Iterable[str], seeds: Sequence[int], further: Sequence[str] = (), at_once: int = 1
) -> int:
    """Run some rows, and the rows they start from, with `further` overrides. Return the number of failed runs."""
    is_dry = DRY in further
    jobs = make_jobs(experiment, rows, seeds, further)
    # Plans are printed to the terminal, one after another.
    slots = 1 if is_dry else at_once
    Scheduler(slots, max(1, len(visible_gpus()) // slots)).run(jobs)
    return sum(job.state == FAILED for job in jobs)


def make_jobs(
    experiment: Experiment, rows: Iterable[str], seeds: Sequence[int], further: Sequence[str] = ()
) -> list[Job]:
    """Return a job for each row and seed.

    Its output goes to `output.log` in its folder, or to the terminal if `further` contains `mode=dry`.
    """
    is_dry = DRY in further
    jobs: list[Job] = []
    ordered = experiment.with_needs(rows)
    for seed in seeds:
        # A row's job needs those of the rows it starts from, which come earlier in `ordered`.
        of_row: dict[str, Job] = {}
        for row in ordered:
            folder = experiment.folder(row, seed)
            overrides = [*experiment.command(row, seed), *further, f"run.dir={folder}"]
            of_row[row] = Job(
                label=str(folder),
                folder=RunFolder(folder),
                command=[sys.executable, "-m", "budgetrl", *overrides],
                log=None if is_dry else folder / "output.log",
                success=PLANNED if is_dry else DONE,
                needs=[of_row[needed] for needed in experiment.needs(row)],
                # A finished run needs no plan, and a new plan.json would replace the record of how it was made.
                state=ALREADY_DONE if is_dry and is_finished(folder) else WAITING,
            )
        jobs += of_row.values()
    return jobs


def is_finished(folder: Path) -> bool:
    """Return whether the run in a folder is finished."""
    return RunFolder(folder).finished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--rows", nargs="+", help="the rows to run; the default is all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--at-once", type=int, default=2, help="runs at the same time")
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides for all runs, such as mode=dry")
    given = parser.parse_args()
    try:
        experiment = read_experiment(given.experiment)
        failed = run_rows(experiment, given.rows or experiment.rows, given.seeds, given.overrides, given.at_once)
    except RequestError as error:
        parser.error(str(error))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
