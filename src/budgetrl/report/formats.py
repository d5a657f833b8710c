"""One table in three formats: Markdown to read, LaTeX (booktabs) for a paper, CSV for everything else.

In each column the best of our numbers is bold and the second best underlined, as they are shown: numbers that
round to the same are equally good. The paper's numbers are not ranked among ours.
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

_ESCAPED = {character: f"\\{character}" for character in "%&#$_{}"}
_NAMED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
_SPECIAL = str.maketrans(_ESCAPED | _NAMED)
"""The characters that LaTeX would take for commands, and how each is written."""


@dataclass(frozen=True)
class TableRow:
    """A group of our runs, or a model of the paper."""

    labels: tuple[str, ...]
    results: Results
    runs: int | None = None
    """How many runs the numbers are means of; None for the paper's."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """What must be said of a number, by its metric."""
    printed: Mapping[str, str] = field(default_factory=dict)
    """Numbers to show as they were printed elsewhere, not rounded to our digits, by their metric."""


@dataclass(frozen=True)
class Table:
    """The numbers of one data set."""

    dataset: str
    keys: tuple[str, ...]
    """Headings of the labels."""
    rows: tuple[TableRow, ...]
    ranked: bool = True
    """Whether the best are marked, which takes numbers of one kind of measurement."""

    def metrics(self) -> dict[Key, str]:
        """The metrics that any line has a number of, with their names."""
        return names(COMPARISON_METRICS, [line.results for line in self.rows])

    def run_rows(self) -> list[TableRow]:
        """The lines of our runs."""
        return [row for row in self.rows if row.runs is not None]

    def paper_rows(self) -> list[TableRow]:
        """The lines of the paper."""
        return [row for row in self.rows if row.runs is None]


def to_markdown(table: Table) -> str:
    """A Markdown table; the best is bold, the second best underlined."""
    marks = ("{}", "**{}**", "<u>{}</u>")
    rows: list[list[str]] = []
    for line in table.rows:
        rows.append([*line.labels, _count(line), *_cells(table, line, marks, str)])
    return tables.markdown(_header(table), rows)


def to_latex(table: Table) -> str:
    """A LaTeX tabular; the preamble needs booktabs."""
    columns = "l" * len(table.keys) + "r" * (1 + len(table.metrics()))
    marks = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
    blocks = [_latex_row(_header(table), [])]
    for lines in (table.run_rows(), table.paper_rows()):
        rows: list[str] = []
        for line in lines:
            cells = _cells(table, line, marks, _latex_text)
            rows.append(_latex_row([*line.labels, _count(line)], cells))
        if rows:
            blocks.append("\n".join(rows))
    body = "\n\\midrule\n".join(blocks)
    return (
        f"% {table.dataset}: needs \\usepackage{{booktabs}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def to_csv(several: Sequence[Table]) -> str:
    """All data sets below each other, with further metrics, in full: shares from 0 to 1, lengths in tokens."""
    columns = _csv_columns([line for table in several for line in table.rows])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if several:  # all tables have the same keys
        writer.writerow(["dataset", *several[0].keys, "runs", *columns])
    for table in several:
        for line in table.rows:
            numbers = line.results.flat()
            shown: list[str] = []
            for column in columns:
                shown.append(f"{numbers[column]:.10g}" if column in numbers else "")
            writer.writerow([table.dataset, *line.labels, line.runs, *shown])
    return file.getvalue()


def _csv_columns(lines: Sequence[TableRow]) -> list[str]:
    """Each metric with its standard error and, for what has intervals, the ends of the 95 % interval."""
    columns = []
    for key in names(TABLE_METRICS, [line.results for line in lines]):
        aspects = [Aspect.VALUE, Aspect.ERROR]
        found = [line.results.get(key) for line in lines]
        if any(estimate and estimate.interval for estimate in found):
            aspects += [Aspect.LOW, Aspect.HIGH]
        columns += [key.flat(aspect) for aspect in aspects]
    return columns


def ranks(lines: Sequence[TableRow], key: Key) -> dict[int, int]:
    """Which of the lines, by position, are best (1) and second best (2).

    >>> lines = [TableRow((), Results.from_values({"length": length}), 1) for length in (30.01, 29.99, 50.0, 40.0)]
    >>> ranks(lines, Key("length")), ranks(lines, Key("budget"))
    ({0: 1, 1: 1, 3: 2}, {})
    """
    shown: dict[int, float] = {}
    for position, line in enumerate(lines):
        estimate = line.results.get(key)
        if estimate:
            # Compared as readers see them: numbers that are written the same are equally good.
            shown[position] = float(number(key.metric, Estimate(estimate.value)))
    better = find(key.metric).better
    best = sorted(set(shown.values()), reverse=better > 0)
    if len(best) < 2 or not better:  # all alike: nothing is best
        return {}
    places = {best[0]: 1, best[1]: 2}
    return {position: places[value] for position, value in shown.items() if value in places}


def _header(table: Table) -> list[str]:
    """The headings of a table: its keys, then each metric with its unit."""
    header = [*table.keys, "runs"]
    for key, name in table.metrics().items():
        unit = find(key.metric).kind.unit
        header.append(f"{name},{unit}" if unit else name)
    return header


def _cells(table: Table, line: TableRow, marks: Sequence[str], quoted: Callable[[str], str]) -> list[str]:
    """The numbers of a line; `marks` are formats of an ordinary, the best and the second best number.

    `quoted` makes a remark fit to be printed.
    """
    cells = []
    ours = table.run_rows()
    for key in table.metrics():
        cell = line.printed.get(key.metric) or number(key.metric, line.results.get(key))
        mark = 0
        if table.ranked and line.runs is not None:
            mark = ranks(ours, key).get(ours.index(line), 0)
        remark = f" ({quoted(line.remarks[key.metric])})" if key.metric in line.remarks else ""
        cells.append(f"{marks[mark].format(cell)}{remark}")
    return cells


def _count(line: TableRow) -> str:
    return "" if line.runs is None else str(line.runs)


def _latex_text(text: str) -> str:
    return text.translate(_SPECIAL)


def _latex_row(texts: Sequence[str], numbers: Sequence[str]) -> str:
    """A row of a tabular: `texts` are escaped, `numbers` are LaTeX already but for their signs."""
    cells = [_latex_text(text) for text in texts]
    cells += [number.replace("±", r"$\pm$") for number in numbers]
    # A hyphen before a number, by itself or inside \textbf{...}, is a minus.
    cells = [re.sub(r"^-(?=\d)|(?<={)-(?=\d)", "$-$", cell) for cell in cells]
    return f"{' & '.join(cells)} \\\\"
