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
from budgetrl.report.numbers import EITHER, SEVERAL, names, number

_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "%&#$_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
)


@dataclass(frozen=True)
class Line:
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
    lines: tuple[Line, ...]
    ranked: bool = True
    """Whether the best are marked, which takes numbers of one kind of measurement."""

    def metrics(self) -> dict[Key, str]:
        """Those of which there is a number, with their names."""
        return names(SEVERAL, [line.results for line in self.lines])

    def ours(self) -> list[Line]:
        """The lines of our runs."""
        return [line for line in self.lines if line.runs is not None]

    def papers(self) -> list[Line]:
        """The lines of the paper."""
        return [line for line in self.lines if line.runs is None]


def to_markdown(table: Table) -> str:
    """Best in bold, second best underlined."""
    marks = ("{}", "**{}**", "<u>{}</u>")
    rows = [[*line.labels, _count(line), *_cells(table, line, marks, str)] for line in table.lines]
    return tables.markdown(_header(table), rows)


def to_latex(table: Table) -> str:
    """A tabular; the preamble needs booktabs."""
    columns = "l" * len(table.keys) + "r" * (1 + len(table.metrics()))
    marks = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
    blocks = [_latex_row(_header(table), [])]
    for lines in (table.ours(), table.papers()):
        rows = [_latex_row([*line.labels, _count(line)], _cells(table, line, marks, _latex_text)) for line in lines]
        if rows:
            blocks.append("\n".join(rows))
    body = "\n\\midrule\n".join(blocks)
    return (
        f"% {table.dataset}: needs \\usepackage{{booktabs}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def to_csv(several: Sequence[Table]) -> str:
    """All data sets below each other, with further metrics, in full: shares from 0 to 1, lengths in tokens."""
    columns = _csv_columns([line for table in several for line in table.lines])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for table in several[:1]:
        writer.writerow(["dataset", *table.keys, "runs", *columns])
    for table in several:
        for line in table.lines:
            numbers = line.results.flat()
            shown = [f"{numbers[column]:.10g}" if column in numbers else "" for column in columns]
            writer.writerow([table.dataset, *line.labels, line.runs, *shown])
    return file.getvalue()


def _csv_columns(lines: Sequence[Line]) -> list[str]:
    """Each metric with its standard error and, for what has intervals, the ends of the 95 % interval."""
    columns = []
    for key in names(EITHER, [line.results for line in lines]):
        found = [line.results.get(key) for line in lines]
        ends = (Aspect.LOW, Aspect.HIGH) if any(one and one.interval for one in found) else ()
        columns += [key.flat(aspect) for aspect in (Aspect.VALUE, Aspect.ERROR, *ends)]
    return columns


def ranks(lines: Sequence[Line], key: Key) -> dict[int, int]:
    """Which of the lines, by position, are best (1) and second best (2).

    >>> lines = [Line((), Results.plain({"length": length}), 1) for length in (30.01, 29.99, 50.0, 40.0)]
    >>> ranks(lines, Key("length")), ranks(lines, Key("budget"))
    ({0: 1, 1: 1, 3: 2}, {})
    """
    shown = {i: _shown(key.metric, found) for i, line in enumerate(lines) if (found := line.results.get(key))}
    better = find(key.metric).better
    best = sorted({*shown.values()}, reverse=better > 0)
    if len(best) < 2 or not better:  # all alike: nothing is best
        return {}
    return {i: best.index(value) + 1 for i, value in shown.items() if value in best[:2]}


def _shown(metric: str, estimate: Estimate) -> float:
    return float(number(metric, Estimate(estimate.value)))


def _header(table: Table) -> list[str]:
    units = [(name, find(key.metric).kind.unit) for key, name in table.metrics().items()]
    return [*table.keys, "runs", *(f"{name},{unit}" if unit else name for name, unit in units)]


def _cells(table: Table, line: Line, marks: Sequence[str], quoted: Callable[[str], str]) -> list[str]:
    """The numbers of a line; `marks` are formats of an ordinary, the best and the second best number.

    `quoted` makes a remark fit to be printed.
    """
    cells = []
    for key in table.metrics():
        cell = line.printed.get(key.metric) or number(key.metric, line.results.get(key))
        marked = table.ranked and line.runs is not None
        mark = ranks(table.ours(), key).get(table.ours().index(line), 0) if marked else 0
        remark = f" ({quoted(line.remarks[key.metric])})" if key.metric in line.remarks else ""
        cells.append(f"{marks[mark].format(cell)}{remark}")
    return cells


def _count(line: Line) -> str:
    return "" if line.runs is None else str(line.runs)


def _latex_text(text: str) -> str:
    return text.translate(_SPECIAL)


def _latex_row(texts: Sequence[str], numbers: Sequence[str]) -> str:
    cells = [*map(_latex_text, texts), *(number.replace("±", r"$\pm$") for number in numbers)]
    cells = [re.sub(r"^-(?=\d)|(?<={)-(?=\d)", "$-$", cell) for cell in cells]
    return f"{' & '.join(cells)} \\\\"
