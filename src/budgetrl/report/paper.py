"""A paper's numbers, from a CSV beside the experiment that repeats them."""

import csv
import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from budgetrl.core.errors import RequestError
from budgetrl.metrics.definitions import find
from budgetrl.metrics.results import Results
from budgetrl.report.formats import TableRow
from budgetrl.report.numbers import COMPARISON_METRICS

_METRICS = [metric.key for metric in COMPARISON_METRICS]
COLUMNS = ("model", "dataset", "metric", "value", "certainty")
CERTAINTIES = ("high", "medium", "low")


def read_paper(path: Path) -> dict[str, dict[str, TableRow]]:
    """Lines by data set and model, with one label: `paper: <model>`. Shares are in percent, as papers print them.

    Numbers are shown as the file has them, with what a column `remark` says of them and, where it is less than high,
    their certainty: "at most; medium". Further columns are for the reader.
    Raises RequestError, naming file and line.
    """
    found: dict[str, dict[str, dict[str, _Number]]] = {}
    for dataset, model, metric, number in _numbers(path):
        found.setdefault(dataset, {}).setdefault(model, {})[metric] = number
    lines: dict[str, dict[str, TableRow]] = {}
    for dataset, models in found.items():
        lines[dataset] = {model: _line(model, numbers) for model, numbers in models.items()}
    return lines


class _Number(NamedTuple):
    """A number of a paper: in our units, as it was printed, and what is to be said of it."""

    value: float
    printed: str
    remark: str


def _line(model: str, numbers: dict[str, _Number]) -> TableRow:
    """The line of one model, from its numbers by metric."""
    values: dict[str, float] = {}
    printed: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for metric, number in numbers.items():
        values[metric] = number.value
        printed[metric] = number.printed
        if number.remark:
            remarks[metric] = number.remark
    return TableRow((f"paper: {model}",), Results.from_values(values), remarks=remarks, printed=printed)


def _numbers(path: Path) -> Iterator[tuple[str, str, str, _Number]]:
    """The rows of the file: data set, model, metric and number. Raises RequestError."""
    if not path.is_file():
        raise RequestError(f"stage.paper: there is no file {path}")
    with StringIO(_text(path), newline="") as file:
        reader = csv.DictReader(file, restval="")
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise RequestError(f"{path}, line 1: has no column {missing[0]}; needs {','.join(COLUMNS)}")
        for row in reader:
            at = f"{path}, line {reader.line_num}"
            if row["metric"] not in _METRICS:
                raise RequestError(f"{at}: {row['metric']!r} is no metric; there are {', '.join(_METRICS)}")
            if row["certainty"] not in CERTAINTIES:
                raise RequestError(f"{at}: certainty is {row['certainty']!r}, not {', '.join(CERTAINTIES)}")
            value = _number(row["value"], at) / find(row["metric"]).kind.scale
            remarks: list[str] = []
            if row.get("remark"):
                remarks.append(row["remark"])
            if row["certainty"] != "high":  # what goes without saying
                remarks.append(row["certainty"])
            number = _Number(value, row["value"].strip(), "; ".join(remarks))
            yield row["dataset"], row["model"], row["metric"], number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _number(text: str, at: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(f"{at}: value {text!r} is no number")
    return number
