"""Writes the run folders of a sweep as the stages do, with numbers that follow from the coefficient and the seed.

`python tests/synthetic_sweep.py <folder>` writes one to look at.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import synthetic_run

R_B = (0.0, -0.2, -0.4, -0.8)
SEEDS = (1, 2, 3)


def sweep(path: Path, values: Sequence[float] = R_B, seeds: Sequence[int] = SEEDS, width: str = "0.5") -> Path:
    """A folder with one finished grpo run for each value of r_b and each seed."""
    for value in values:
        for seed in seeds:
            grpo_run(path / f"r_b{value}-w{width}-s{seed}", value, seed, width)
    return path


def grpo_run(path: Path, r_b: float, seed: int, width: str = "0.5") -> Path:
    """Length 100 + 100 r_b + seed; accuracy 0.9 + r_b / 10 + seed / 100."""
    path.mkdir(parents=True)
    config = synthetic_run.CONFIG % "grpo"
    config = config.replace("seed: 0", f"seed: {seed}").replace("r_b: -0.4", f"r_b: {r_b}, width: {width}")
    (path / "config.yaml").write_text(config + f"run: {{dir: {path}}}\n")
    numbers = {"accuracy": 0.9 + r_b / 10 + seed / 100, "accuracy_se": 0.02, "length": 100 + 100 * r_b + seed}
    (path / "result.json").write_text(json.dumps({f"mini/{key}": value for key, value in numbers.items()}))
    return path


if __name__ == "__main__":
    sweep(Path(sys.argv[1]))
    sweep(Path(sys.argv[1]), width="1.0")
