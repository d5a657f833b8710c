"""Table of an experiment: `summarise.py experiments/mini` reads runs/mini, writes results.csv, prints Markdown.

A number is the mean over seeds, its error the standard error of that mean (from the spread of the seeds).
"""

import csv
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

COLUMNS = {
    "length": ("trained/mini/length", 1, 1),
    "shorter, %": ("mini/compression", 100, 1),
    "accuracy, %": ("trained/mini/accuracy", 100, 1),
    "change, points": ("mini/accuracy_change", 100, 2),
    "budget": ("trained/mini/budget", 1, 1),
    "match 50, %": ("trained/mini/match_50", 100, 1),
    "match 25, %": ("trained/mini/match_25", 100, 1),
    "match 10, %": ("trained/mini/match_10", 100, 1),
    "rho(b, level)": ("trained/mini/budget_level_rho", 1, 3),
    "format, %": ("trained/mini/format", 100, 1),
}
"""Heading: key in result.json, factor, digits."""

Result = dict[str, float]


def results(runs: Path) -> dict[str, dict[int, Result]]:
    """row -> seed -> result.json of every finished run."""
    found: dict[str, dict[int, Result]] = defaultdict(dict)
    for path in sorted(runs.glob("*-s*/result.json")):
        row, _, seed = path.parent.name.rpartition("-s")
        found[row][int(seed)] = json.loads(path.read_text())
    return found


def cell(values: list[float], scale: float, digits: int) -> str:
    """Mean ± standard error over seeds; empty where no run has the number."""
    scaled = [scale * value for value in values]
    error = f" ± {stdev(scaled) / math.sqrt(len(scaled)):.{digits}f}" if len(scaled) > 1 else ""
    return f"{fmean(scaled):.{digits}f}{error}" if scaled else ""


def table(found: dict[str, dict[int, Result]]) -> str:
    lines = ["| row | seeds | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 2) + "|"]
    for row, seeds in found.items():
        cells = [cell([r[key] for r in seeds.values() if key in r], *form) for key, *form in COLUMNS.values()]
        lines.append(f"| `{row}` | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_csv(found: dict[str, dict[int, Result]], path: Path) -> None:
    keys = [*(key for key, *_ in COLUMNS.values()), "mini/accuracy_change_se"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "seed", *keys])
        for row, seeds in found.items():
            writer.writerows([row, seed, *(result.get(key, "") for key in keys)] for seed, result in seeds.items())


def main() -> None:
    experiment = Path(sys.argv[1])
    found = results(Path("runs") / experiment.resolve().name)
    write_csv(found, experiment / "results.csv")
    print(table(found))


if __name__ == "__main__":
    main()
