"""One table in three formats: Markdown to read, LaTeX (booktabs) for a paper, CSV for other programs.

The best of our numbers in each column is bold and the second best underlined. Ranking uses the numbers as they are
displayed: numbers that round to the same value are equally good. Published numbers are not ranked.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from budgetrl.metrics.definitions import find
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Aspect, Key
from budgetrl.metrics.results import Results
from budgetrl.report import tables
from budgetrl.report.numbers import COMPARISON_METRICS, TABLE_METRICS, names, number

# Characters that are commands in LaTeX: most take a backslash, three need a command of their own.
_BACKSLASHED = {character: f"\\{character}" for character in "%&#$_{}"}
_COMMANDS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
_LATEX_ESCAPES = str.maketrans(_BACKSLASHED | _COMMANDS)


@dataclass(frozen=True)
class TableRow:
    """The numbers of one group of our runs, or of one model of a paper."""

    labels: tuple[str, ...]
    results: Results
    runs: int | None = None
    """Number of runs averaged; None for a paper's row."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Remarks to print after a number, by metric."""
    printed: Mapping[str, str] = field(default_factory=dict)
    """Numbers as a paper prints them, by metric. They replace the number formatted by us."""


@dataclass(frozen=True)
class Table:
    """The numbers of one data set."""

    dataset: str
    keys: tuple[str, ...]
    """Headings of the label columns."""
    rows: tuple[TableRow, ...]
    ranked: bool = True
    """Whether to mark the best numbers. Must be False if the runs are not comparable."""

    def metrics(self) -> dict[Key, str]:
        """Return the metrics for which any row has a number, with their display names."""
        return names(COMPARISON_METRICS, [row.results for row in self.rows])

    def run_rows(self) -> list[TableRow]:
        """Return the rows of our runs."""
        return [row for row in self.rows if row.runs is not None]

    def paper_rows(self) -> list[TableRow]:
        """Return the rows of the paper."""
        return [row for row in self.rows if row.runs is None]


def to_markdown(table: Table) -> str:
    """Return a Markdown table; the best number of a column is bold, the second best underlined."""
    styles = ("{}", "**{}**", "<u>{}</u>")
    lines: list[list[str]] = []
    for row in table.rows:
        lines.append([*row.labels, _run_count(row), *_cells(table, row, styles, str)])
    return tables.markdown(_header(table), lines)


def to_latex(table: Table) -> str:
    """Return a LaTeX tabular; the preamble needs booktabs."""
    column_types = "l" * len(table.keys) + "r" * (1 + len(table.metrics()))
    styles = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
    # Header, our rows and the paper's rows are separated by rules.
    blocks = [_latex_row(_header(table), [])]
    for rows in (table.run_rows(), table.paper_rows()):
        lines: list[str] = []
        for row in rows:
            cells = _cells(table, row, styles, _escape_latex)
            lines.append(_latex_row([*row.labels, _run_count(row)], cells))
        if lines:
            blocks.append("\n".join(lines))
    body = "\n\\midrule\n".join(blocks)
    return (
        f"% {table.dataset}: needs \\usepackage{{booktabs}}\n"
        f"\\begin{{tabular}}{{{column_types}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def to_csv(several: Sequence[Table]) -> str:
    """Return a CSV of all data sets, unrounded: shares from 0 to 1, lengths in tokens.

    It has metrics that the other formats leave out, standard errors and the ends of intervals.
    """
    all_rows: list[TableRow] = []
    for table in several:
        all_rows += table.rows
    columns = _csv_columns(all_rows)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if several:  # all tables have the same keys
        writer.writerow(["dataset", *several[0].keys, "runs", *columns])
    for table in several:
        for row in table.rows:
            numbers = row.results.flat()
            cells: list[str] = []
            for column in columns:
                cells.append(f"{numbers[column]:.10g}" if column in numbers else "")
            writer.writerow([table.dataset, *row.labels, row.runs, *cells])
    return file.getvalue()


def _csv_columns(rows: Sequence[TableRow]) -> list[str]:
    """Return the columns of each metric: value, standard error and, if any row has an interval, its two ends."""
    columns = []
    for key in names(TABLE_METRICS, [row.results for row in rows]):
        aspects = [Aspect.VALUE, Aspect.ERROR]
        estimates = [row.results.get(key) for row in rows]
        if any(estimate and estimate.interval for estimate in estimates):
            aspects += [Aspect.LOW, Aspect.HIGH]
        for aspect in aspects:
            columns.append(key.flat(aspect))
    return columns


def ranks(rows: Sequence[TableRow], key: Key) -> dict[int, int]:
    """Return which rows, by position, are best (1) and second best (2) in a metric.

    Empty if all rows display the same number, or if the metric has no better direction.

    >>> rows = [TableRow((), Results.from_values({"length": length}), 1) for length in (30.01, 29.99, 50.0, 40.0)]
    >>> ranks(rows, Key("length")), ranks(rows, Key("budget"))
    ({0: 1, 1: 1, 3: 2}, {})
    """
    displayed: dict[int, float] = {}
    for position, row in enumerate(rows):
        estimate = row.results.get(key)
        if estimate:
            displayed[position] = float(number(key.metric, Estimate(estimate.value)))  # rounded
    direction = find(key.metric).better
    best_first = sorted(set(displayed.values()), reverse=direction > 0)
    if len(best_first) < 2 or not direction:
        return {}
    found: dict[int, int] = {}
    for position, value in displayed.items():
        if value in best_first[:2]:
            found[position] = best_first.index(value) + 1
    return found


def _header(table: Table) -> list[str]:
    """Return the column headings: the keys, the number of runs, then each metric with its unit."""
    header = [*table.keys, "runs"]
    for key, name in table.metrics().items():
        unit = find(key.metric).kind.unit  # " %": the blank is there already
        header.append(f"{name},{unit}" if unit else name)
    return header


def _cells(table: Table, row: TableRow, styles: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    """Return the formatted numbers of a row.

    `styles` are format strings for an unmarked, the best and the second best number; `escape` is applied to remarks.
    """
    cells = []
    ranked_rows = table.run_rows()
    for key in table.metrics():
        text = row.printed.get(key.metric) or number(key.metric, row.results.get(key))
        rank = 0
        if table.ranked and row.runs is not None:
            rank = ranks(ranked_rows, key).get(ranked_rows.index(row), 0)
        remark = f" ({escape(row.remarks[key.metric])})" if key.metric in row.remarks else ""
        cells.append(f"{styles[rank].format(text)}{remark}")
    return cells


def _run_count(row: TableRow) -> str:
    return "" if row.runs is None else str(row.runs)


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX_ESCAPES)


def _latex_row(texts: Sequence[str], numbers: Sequence[str]) -> str:
    """Return a row of a tabular. `texts` are escaped here; `numbers` are LaTeX already, except for their signs."""
    cells: list[str] = []
    for text in (*map(_escape_latex, texts), *numbers):
        # A hyphen before a digit, at the start of a cell or inside \textbf{...}, is a minus sign.
        cell = re.sub(r"^-(?=\d)|(?<={)-(?=\d)", "$-$", text)
        cells.append(cell.replace("±", r"$\pm$"))
    return f"{' & '.join(cells)} \\\\"
