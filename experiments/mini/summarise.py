"""Table of the mini experiment: `summarise.py [runs/mini]` writes results.csv and prints Markdown.

A number is the mean over seeds, its error the standard error of that mean (from the spread of the seeds).
"""

import csv
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

HERE = Path(__file__).parent
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


def results(runs: Path) -> dict[str, dict[int, dict[str, float]]]:
    """row -> seed -> result.json of every finished run."""
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for path in sorted(runs.glob("*-s*/result.json")):
        row, _, seed = path.parent.name.rpartition("-s")
        found[row][int(seed)] = json.loads(path.read_text())
    return found


def cell(values: list[float], scale: float, digits: int) -> str:
    """Mean ± standard error over seeds."""
    values = [scale * value for value in values]
    error = f" ± {stdev(values) / math.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{error}"


def main() -> None:
    found = results(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mini"))
    print("| row | seeds | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for row, seeds in found.items():
        cells = [
            cell([result[key] for result in seeds.values() if key in result], scale, digits)
            if any(key in result for result in seeds.values())
            else ""
            for key, scale, digits in COLUMNS.values()
        ]
        print(f"| `{row}` | {len(seeds)} | " + " | ".join(cells) + " |")
    with open(HERE / "results.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "seed", *(key for key, _, _ in COLUMNS.values()), "mini/accuracy_change_se"])
        for row, seeds in found.items():
            for seed, result in seeds.items():
                keys = [*(key for key, _, _ in COLUMNS.values()), "mini/accuracy_change_se"]
                writer.writerow([row, seed, *(result.get(key, "") for key in keys)])


if __name__ == "__main__":
    main()
