"""A report over several runs, built from their folders: tables, curves over a coefficient, accuracy against length."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.metrics.results import Results
from budgetrl.report import figures, tables
from budgetrl.report.comparable import are_comparable, comparability_note
from budgetrl.report.formats import Table, TableRow, to_csv, to_latex, to_markdown
from budgetrl.report.groups import RunGroup, flat_config, group_runs, is_number, value_text
from budgetrl.report.numbers import ABSENT
from budgetrl.report.paper import read_paper
from budgetrl.report.reading import Run, read_run
from budgetrl.report.report import write_sections
from budgetrl.report.sections import MissingSection, ReportPart, Section, embed_figure
from budgetrl.runs.folder import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READ_AS = (
    "± is one standard error: over runs if the row averages several runs (all on the same problems), "
    "over problems if it is a single run. It is omitted if all values are identical. "
    "A number is omitted unless every run of the row has it."
)
_RANKED = " Bold: best in column; underlined: second best."
_PAPER_READ_AS = " Published numbers are followed by their certainty, unless it is high."


def write_comparison(
    run_dirs: Sequence[Path],
    out_dir: Path,
    by: Sequence[str] = (),
    paper: Path | None = None,
    name: str = "report",
    title: str | None = None,
    before: Sequence[ReportPart] = (),
    differences: bool = True,
) -> Path:
    """Write `<name>.md`, `.tex` and `.csv` with `figures/` into `out_dir`, and return the path of the Markdown file.

    Args:
        run_dirs: Folders of the runs. Runs without results are listed as omitted.
        out_dir: Where to write the report.
        by: Configuration keys. Runs that agree in them are averaged into one table row; see `group_runs`.
        paper: A CSV of published numbers; see `read_paper`.
        name: Stem of the files.
        title: Heading of the report; by default the number of runs.
        before: Parts to put first.
        differences: Whether to list how the configurations differ. The list is long for runs of different stages.

    Raises:
        RequestError: `paper` or a file of a run cannot be read, or no run has one of the keys in `by`.
    """
    evaluated: dict[str, Run] = {}
    omitted: list[MissingSection] = []
    for short, path in short_names(run_dirs).items():
        run = read_run(path)
        if run.datasets():
            evaluated[short] = run
        else:
            omitted.append(MissingSection(short, "the run is unfinished, or it does not evaluate a model"))
    groups = group_runs(list(evaluated.values()), by) if evaluated else []
    all_tables = _tables(groups, paper)

    parts = list(before)
    for table in all_tables:
        measured = {short: run for short, run in evaluated.items() if table.dataset in run.datasets()}
        note = comparability_note(measured, table.dataset) if len(measured) > 1 else ""
        parts.append(_results(table, groups, out_dir, len(all_tables) > 1, note))
    if differences and len(evaluated) > 1:
        parts.append(_differences(evaluated))
    parts += omitted

    write_atomically(out_dir / f"{name}.tex", "\n".join(map(to_latex, all_tables)))
    write_atomically(out_dir / f"{name}.csv", to_csv(all_tables))
    count = len(evaluated) + len(omitted)
    run_count = "1 run" if count == 1 else f"{count} runs"
    return write_sections(out_dir / f"{name}.md", title or run_count, "", parts)


def _tables(groups: Sequence[RunGroup], paper: Path | None) -> list[Table]:
    """Return a table for each data set, with the paper's rows below ours."""
    papers = read_paper(paper) if paper else {}
    keys = tuple(groups[0].values) if groups else ()
    keys = keys or ("",)  # a table needs a column of labels, even if no key distinguishes its rows
    runs_on: dict[str, list[Run]] = {}
    for group in groups:
        for run in group.runs:
            for dataset in run.datasets():
                runs_on.setdefault(dataset, []).append(run)
    all_tables = []
    # Our data sets first, then those that only the paper has.
    for dataset in {**runs_on, **papers}:
        rows: list[TableRow] = []
        for group in groups:
            if group.on(dataset).estimates:
                rows.append(_row(group, dataset))
        for row in papers.get(dataset, {}).values():
            rows.append(_pad_labels(row, len(keys)))
        ranked = are_comparable(runs_on.get(dataset, []), dataset)
        all_tables.append(Table(dataset, keys, tuple(rows), ranked))
    return all_tables


def _row(group: RunGroup, dataset: str) -> TableRow:
    """Return the table row of one group of runs."""
    labels = tuple(map(value_text, group.values.values())) or (group.label,)
    runs = [run for run in group.runs if dataset in run.datasets()]
    return TableRow(labels, group.on(dataset), runs=len(runs))


def _pad_labels(row: TableRow, width: int) -> TableRow:
    """Return a row of the paper, which has a single label, with empty labels up to `width` columns."""
    empty = [""] * (width - 1)
    return replace(row, labels=(*row.labels, *empty))


def _results(table: Table, groups: Sequence[RunGroup], out_dir: Path, several: bool, note: str) -> ReportPart:
    """Write the figures of one data set and return its section: figures, table, how to read it, and `note`.

    `several` says whether the report has other data sets too, so that headings and file names need this one's name.
    """
    measured: list[tuple[RunGroup, Results]] = []
    for group in groups:
        results = group.on(table.dataset)
        if results.get("accuracy"):
            measured.append((group, results))

    # Figures by file stem, with their alternative text.
    drawn = {
        "coefficient": ("Accuracy and length as functions of the coefficient", _coefficient_curves(measured)),
        "accuracy_length": ("Accuracy against mean length", _accuracy_against_length(measured)),
    }
    blocks: list[str] = []
    for stem, (alt, figure) in drawn.items():
        if figure is not None:
            name = f"{stem}_{table.dataset}" if several else stem
            blocks.append(embed_figure(figure, out_dir, name, alt, pdf=True))

    legend = READ_AS if table.run_rows() else ""
    if table.ranked and len(table.run_rows()) > 1:
        legend += _RANKED
    if table.paper_rows():
        legend += _PAPER_READ_AS
    blocks += [to_markdown(table), legend.strip()]
    if note:
        blocks.append(note)
    title = f"Results: {table.dataset}" if several or table.paper_rows() else "Results"
    return Section(title, "\n\n".join(blocks))


def _coefficient_curves(measured: Sequence[tuple[RunGroup, Results]]) -> "Figure | None":
    """Draw curves over the first key that takes several numeric values, one for each combination of the other keys."""
    keys = list(measured[0][0].values) if measured else []
    axis = _first_numeric_key(measured, keys)
    if axis is None:
        return None
    curves: dict[str, dict[float, Results]] = {}
    for group, results in measured:
        x = _number(group, axis)
        if x is None:
            continue
        others = dict(group.values)
        del others[axis]
        label = RunGroup(others, ()).label if len(keys) > 1 else ""
        curves.setdefault(label, {})[x] = results
    return figures.against_coefficient(axis, curves)


def _first_numeric_key(measured: Sequence[tuple[RunGroup, Results]], keys: Sequence[str]) -> str | None:
    """Return the first key that has at least two different numbers as values, or None."""
    for key in keys:
        numbers = {_number(group, key) for group, _ in measured} - {None}
        if len(numbers) > 1:
            return key
    return None


def _accuracy_against_length(measured: Sequence[tuple[RunGroup, Results]]) -> "Figure | None":
    return figures.accuracy_against_length({group.label: results for group, results in measured})


def _number(group: RunGroup, key: str) -> float | None:
    """Return the group's value of a key if it is a number, else None."""
    value = group.values[key]
    return value if is_number(value) else None


def _differences(runs: Mapping[str, Run]) -> ReportPart:
    """Return a table of the configuration keys in which the runs differ, with a row for each run."""
    title = "Configuration differences"
    configs = {name: flat_config(run) for name, run in runs.items()}
    keys = []
    for key in sorted(set().union(*configs.values())):
        values = {str(config.get(key)) for config in configs.values()}
        if len(values) > 1:
            keys.append(key)
    if not keys:
        return MissingSection(title, "the configurations are identical or missing")
    rows: list[list[str]] = []
    for name, config in configs.items():
        row = [name]
        row += [str(config.get(key, ABSENT)) for key in keys]
        rows.append(row)
    header = ["run"]
    header += [f"`{key}`" for key in keys]
    return Section(title, tables.markdown(header, rows, numbers=False))


def short_names(run_dirs: Iterable[Path]) -> dict[str, Path]:
    """Return the absolute paths by folder name, with the parent's name in front where folder names repeat."""
    # abspath, not resolve: a link may be a part that pipelines share, and must keep its place inside its pipeline.
    paths = [Path(os.path.abspath(path)) for path in run_dirs]
    names = [path.name for path in paths]
    by_name: dict[str, Path] = {}
    for path in paths:
        is_unique = names.count(path.name) == 1
        by_name[path.name if is_unique else f"{path.parent.name}/{path.name}"] = path
    return by_name
