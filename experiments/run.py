"""Run the rows of an experiment: `run.py experiments/mini --rows budget_cosine budget_gauss --seeds 0 1 2`.

An experiment is a folder with `rows.yaml`: overrides that all rows have in `common`, and under `rows` those of
each row. Each row and seed is one run, `runs/<experiment>/<row>-s<seed>`. Finished runs are skipped, broken
ones go on where they were, and a failed one does not stop the others.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from omegaconf import OmegaConf


def run(folder: Path, overrides: list[str]) -> int:
    """One run, its output in `output.log` of its folder; returns its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "output.log", "a") as log:
        command = [sys.executable, "-m", "budgetrl", *overrides, f"run.dir={folder}"]
        return subprocess.run(command, stdout=log, stderr=log).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--rows", nargs="+", help="some of the rows; all if left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--at-once", type=int, default=2)
    arguments = parser.parse_args()
    spec = OmegaConf.load(arguments.experiment / "rows.yaml")
    if unknown := set(arguments.rows or ()) - set(spec.rows):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(spec.rows)}")
    runs = Path("runs") / arguments.experiment.resolve().name
    jobs = {
        runs / f"{row}-s{seed}": [*spec.common, *spec.rows[row], f"seed={seed}"]
        for seed in arguments.seeds
        for row in arguments.rows or spec.rows
    }
    failed = 0
    with ThreadPoolExecutor(arguments.at_once) as pool:
        for folder, code in zip(jobs, pool.map(run, jobs, jobs.values()), strict=True):
            failed += code != 0
            print(f"{folder}: {'done' if code == 0 else f'exit code {code}, see {folder}/output.log'}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
