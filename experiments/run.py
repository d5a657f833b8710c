"""Run the rows of an experiment: `run.py experiments/mini --rows budget_cosine budget_gauss --seeds 0 1 2`.

An experiment is a folder with `rows.yaml`: overrides that all rows have in `common`, and under `rows` those of
each row. `like: 1_5b` takes the rows of the experiment beside it that has that name. Each row and seed is one run,
`runs/<experiment>/<row>-s<seed>`. A row may start from another one, whose folder it names in braces:
`model.path={cold_short}/checkpoints/last` is the run of the same seed, which is made first.

Finished runs are skipped, broken ones go on where they were, and a failed one does not stop the others.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from budgetrl.core.errors import RequestError

DRY = "mode=dry"


@dataclass(frozen=True)
class Experiment:
    """What `rows.yaml` says."""

    name: str
    common: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    def folder(self, row: str, seed: int) -> Path:
        """The run folder of a row."""
        return Path("runs") / self.name / f"{row}-s{seed}"

    def command(self, row: str, seed: int) -> list[str]:
        """The overrides of one run. A row of another stage than the common one does not take that one's keys."""
        own_stage = any(override.startswith(("stage=", "experiment=")) for override in self.rows[row])
        common = [o for o in self.common if not (own_stage and o.startswith("stage."))]
        start = {needed: self.folder(needed, seed) for needed in self.needs(row)}
        own = [_BRACES.sub(lambda found: str(start[found[1]]), override) for override in self.rows[row]]
        return [*common, *own, f"seed={seed}"]

    def needs(self, row: str) -> list[str]:
        """The rows that a row starts from."""
        if row not in self.rows:
            raise RequestError(f"experiments/{self.name}: there is no row {row}; there are {', '.join(self.rows)}")
        return [needed for override in self.rows[row] for needed in _BRACES.findall(override)]

    def waves(self, rows: Iterable[str]) -> list[list[str]]:
        """The rows and what they start from; each wave needs only those before it.

        >>> Experiment("x", [], {"base": [], "a": [], "b": ["model.path={base}/last"]}).waves(["b", "a"])
        [['base', 'a'], ['b']]
        """
        depths: dict[str, int] = {}

        def place(row: str) -> int:
            depths[row] = 1 + max(map(place, self.needs(row)), default=-1)
            return depths[row]

        for row in rows:
            place(row)
        return [
            [row for row in depths if depths[row] == depth] for depth in range(max(depths.values(), default=-1) + 1)
        ]


_BRACES = re.compile(r"\{(\w+)\}")


def read_experiment(folder: Path) -> Experiment:
    """Raises RequestError where there is no such experiment."""
    path = folder / "rows.yaml"
    if not path.is_file():
        others = ", ".join(sorted(found.parent.name for found in folder.parent.glob("*/rows.yaml")))
        raise RequestError(f"{folder}: there is no {path}; experiments with rows are {others or 'none'}")
    spec = OmegaConf.load(path)
    rows = read_experiment(folder.with_name(spec.like)).rows if "like" in spec else {}
    own = OmegaConf.to_container(spec.get("rows", OmegaConf.create({})))
    return Experiment(folder.resolve().name, list(spec.common), {**rows, **own})


def run_rows(
    experiment: Experiment, rows: Iterable[str], seeds: Sequence[int], further: Sequence[str] = (), at_once: int = 1
) -> int:
    """Make the runs of some rows with `further` overrides, and what they start from. Returns how many failed."""
    failed = 0
    for wave in experiment.waves(rows):
        jobs = {
            experiment.folder(row, seed): [*experiment.command(row, seed), *further] for seed in seeds for row in wave
        }
        with ThreadPoolExecutor(1 if DRY in further else at_once) as pool:
            for folder, code in zip(jobs, pool.map(run, jobs, jobs.values()), strict=True):
                failed += code != 0
                where = "" if DRY in further else f", see {folder}/output.log"
                print(f"{folder}: {'done' if code == 0 else f'exit code {code}{where}'}", flush=True)
    return failed


def is_finished(folder: Path) -> bool:
    return (folder / "result.json").exists()


def run(folder: Path, overrides: Sequence[str]) -> int:
    """One run, its output in `output.log` of its folder; returns its exit code. A plan is for the terminal."""
    command = [sys.executable, "-m", "budgetrl", *overrides, f"run.dir={folder}"]
    if DRY in overrides:  # what is finished needs no plan, and keeps the record of how it was made
        return 0 if is_finished(folder) else subprocess.run(command).returncode
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "output.log", "a") as log:
        return subprocess.run(command, stdout=log, stderr=log).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--rows", nargs="+", help="some of the rows; all if left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--overrides", nargs="*", default=[], help="further ones for all runs, such as mode=dry")
    given = parser.parse_args()
    try:
        experiment = read_experiment(given.experiment)
        failed = run_rows(experiment, given.rows or experiment.rows, given.seeds, given.overrides, given.at_once)
    except RequestError as error:
        parser.error(str(error))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
