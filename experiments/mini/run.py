"""Run rows of the mini experiment: `run.py --rows budget_cosine budget_gauss --seeds 0 1 2 3 4 --at-once 2`.

Each row and seed is one pipeline run in `runs/mini/<row>-s<seed>`. What does not depend on the reward or
the algorithm (cold start, labels, evaluation of the initial model) is run once for each seed and model and
copied to the other rows. Finished runs are skipped, broken ones go on where they were.
"""

import argparse
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RUNS = Path("runs/mini")
COMMON = ["stage=pipeline", "tracking=none", "launch.ranks=1", "launch.threads=1"]
SHARED_PARTS = ("cold_start", "label", "initial")
ROWS = {
    "budget_cosine": ["reward=budget_cosine"],
    "budget_gauss": ["reward=budget_gauss"],
    "accuracy": ["reward=accuracy"],
    "one_label": ["reward=budget_cosine", "stage.label.samples=1"],
    "paper_alpha": ["reward=budget_cosine", "reward.alpha_start=6.0", "reward.alpha_end_at=1.0"],
    "no_entropy_bonus": ["reward=budget_cosine", "algorithm.budget_entropy_start=0.0"],
    "gauss_narrow": ["reward=budget_gauss", "reward.width=0.667"],
    "kl": ["reward=budget_cosine", "algorithm.kl_coefficient=0.01"],
    "two_updates": ["reward=budget_cosine", "algorithm.optimiser_steps_per_rollout=2"],
    "other_base": ["reward=budget_cosine", "model.path=runs/mini-base-s1/checkpoints/last"],
    "digits": ["reward=budget_cosine", "model.path=runs/mini-base-digits/checkpoints/last"],
}
"""The last two need a base model of their own: stage=pretrain with seed=1, or with stage.budget_style=digits."""


def run(row: str, seed: int) -> int:
    """One pipeline run; returns its exit code."""
    folder = RUNS / f"{row}-s{seed}"
    donor = RUNS / f"budget_cosine-s{seed}"
    if donor != folder and not any("model.path" in override for override in ROWS[row]):
        adopt(donor, folder, [part for part in SHARED_PARTS if f"stage.{part}." not in str(ROWS[row])])
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "budgetrl", *COMMON, *ROWS[row], f"seed={seed}", f"run.dir={folder}"]
    with open(folder / "output.log", "a") as log:
        return subprocess.run(command, stdout=log, stderr=log).returncode


def adopt(donor: Path, folder: Path, parts: list[str]) -> None:
    """Copy the finished parts that both runs have in common."""
    for part in parts:
        if (donor / part / "result.json").exists() and not (folder / part).exists():
            shutil.copytree(donor / part, folder / part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", default=["budget_cosine", "budget_gauss", "accuracy"], choices=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--at-once", type=int, default=2)
    arguments = parser.parse_args()
    jobs = [(row, seed) for row in arguments.rows for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.at_once) as pool:
        codes = pool.map(lambda job: run(*job), jobs)
        for (row, seed), code in zip(jobs, codes, strict=True):
            print(f"{row}, seed {seed}: {'done' if code == 0 else f'exit code {code}'}", flush=True)


if __name__ == "__main__":
    main()
