"""Published numbers of a paper, read from a CSV beside the experiment that reproduces them."""

import csv
import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.metrics.definitions import find
from budgetrl.metrics.results import Results
from budgetrl.report.formats import TableRow
from budgetrl.report.numbers import COMPARISON_METRICS

_METRICS = [metric.key for metric in COMPARISON_METRICS]
COLUMNS = ("model", "dataset", "metric", "value", "certainty")
"""Columns the CSV must have. `remark` is optional, and any other column is ignored."""
CERTAINTIES = ("high", "medium", "low")
"""How certain a number is."""


def read_paper(path: Path) -> dict[str, dict[str, TableRow]]:
    """Return a table row, labeled `paper: <model>`, for each data set and model in the file.

    Shares are in percent, as papers print them. Tables show the numbers as the file has them, followed by the remark
    and by the certainty unless it is high: "84.1 (at most; medium)".

    Raises:
        RequestError: The file is missing or has an error; the message names the file and the line.
    """
    # By data set, model and metric.
    numbers: dict[str, dict[str, dict[str, _Number]]] = {}
    for dataset, model, metric, number in _read_numbers(path):
        numbers.setdefault(dataset, {}).setdefault(model, {})[metric] = number
    rows: dict[str, dict[str, TableRow]] = {}
    for dataset, models in numbers.items():
        rows[dataset] = {}
        for model, by_metric in models.items():
            rows[dataset][model] = _table_row(model, by_metric)
    return rows


class _Number(NamedTuple):
    """A published number."""

    value: float
    """In our units: shares from 0 to 1."""
    printed: str
    """As the file has it."""
    remark: str
    """What to print after it."""


def _table_row(model: str, by_metric: dict[str, _Number]) -> TableRow:
    """Return the row of one model."""
    values: dict[str, float] = {}
    printed: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for metric, number in by_metric.items():
        values[metric] = number.value
        printed[metric] = number.printed
        if number.remark:
            remarks[metric] = number.remark
    return TableRow((f"paper: {model}",), Results.from_values(values), remarks=remarks, printed=printed)


def _read_numbers(path: Path) -> Iterator[tuple[str, str, str, _Number]]:
    """Yield the data set, model, metric and number of each row of the file."""
    if not path.is_file():
        raise RequestError(Message("stage.paper", f"there is no file {path}", "fix the path, or set it to null"))
    with StringIO(_read_text(path), newline="") as file:
        reader = csv.DictReader(file, restval="")
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise RequestError(f"{path}, line 1: column {column} is missing; needed are {','.join(COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row["metric"] not in _METRICS:
                raise RequestError(f"{where}: unknown metric {row['metric']!r}; use one of {', '.join(_METRICS)}")
            if row["certainty"] not in CERTAINTIES:
                raise RequestError(f"{where}: certainty {row['certainty']!r} must be one of {', '.join(CERTAINTIES)}")
            value = _parse_number(row["value"], where) / find(row["metric"]).kind.scale
            remarks: list[str] = []
            if row.get("remark"):
                remarks.append(row["remark"])
            if row["certainty"] != "high":
                remarks.append(row["certainty"])
            number = _Number(value, row["value"].strip(), "; ".join(remarks))
            yield row["dataset"], row["model"], row["metric"], number


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _parse_number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(f"{where}: value {text!r} is not a number; fix or remove the row")
    return number
