"""One report over several runs, from their folders alone: tables, curves over a coefficient, the front."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.metrics.results import Results
from budgetrl.report import figures, tables
from budgetrl.report.comparable import are_comparable, comparability_note
from budgetrl.report.formats import Table, TableRow, to_csv, to_latex, to_markdown
from budgetrl.report.groups import RunGroup, flat_config, group_runs, is_number, text
from budgetrl.report.numbers import ABSENT
from budgetrl.report.paper import read_paper
from budgetrl.report.reading import Run, read_run
from budgetrl.report.report import write_sections
from budgetrl.report.sections import MissingSection, ReportPart, Section, embed_figure
from budgetrl.runs.folder import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READ_AS = (
    "± is one standard error: of the mean over a row's runs, with the problems the same in all, or where that is "
    "one run, of the mean over its problems; none where all of these were alike. A number that not all of a row's "
    "runs have is left out."
)
_RANKED = " Bold: best of a column; underlined: second best."
_PAPER_READ_AS = " Numbers of the paper are as certain as they say, and highly so where they say nothing of it."


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
    """Write `<name>.md`, `.tex` and `.csv` with `figures/` into `out_dir`, a row for each group of runs.

    `by` are keys of the configuration; runs that agree in them are averaged. `paper` is a CSV that `read_paper` reads,
    `before` are sections to begin with. `differences` says how the runs' configurations differ, which is long where
    they are of several stages. Returns the path of the Markdown.
    """
    runs = {short: read_run(path) for short, path in short_names(run_dirs).items()}
    finished = {short: run for short, run in runs.items() if run.datasets()}
    groups = group_runs([*finished.values()], by) if finished else []
    built = _tables(groups, paper)
    parts = [*before]
    for table in built:
        measured = {short: run for short, run in finished.items() if table.dataset in run.datasets()}
        note = comparability_note(measured, table.dataset) if len(measured) > 1 else ""
        parts.append(_results(table, groups, out_dir, len(built) > 1, note))
    if differences and len(finished) > 1:
        parts.append(_differences(finished))
    for short in runs:
        if short not in finished:
            parts.append(MissingSection(short, "the run measured no model, or is not finished"))
    write_atomically(out_dir / f"{name}.tex", "\n".join(map(to_latex, built)))
    write_atomically(out_dir / f"{name}.csv", to_csv(built))
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return write_sections(out_dir / f"{name}.md", title or counted, "", parts)


def _tables(groups: Sequence[RunGroup], paper: Path | None) -> list[Table]:
    """A table for each data set; the paper's lines stand below ours."""
    papers = read_paper(paper) if paper else {}
    keys = tuple(groups[0].values) if groups else ()
    keys = keys or ("",)  # a table has a column of labels even where no key tells its lines apart
    runs_on: dict[str, list[Run]] = {}
    for group in groups:
        for run in group.runs:
            for dataset in run.datasets():
                runs_on.setdefault(dataset, []).append(run)
    built = []
    for dataset in {**runs_on, **papers}:
        lines: list[TableRow] = []
        for group in groups:
            if group.on(dataset).estimates:
                lines.append(_line(group, dataset))
        for line in papers.get(dataset, {}).values():
            lines.append(_widened(line, len(keys)))
        ranked = are_comparable(runs_on.get(dataset, []), dataset)
        built.append(Table(dataset, keys, tuple(lines), ranked))
    return built


def _line(group: RunGroup, dataset: str) -> TableRow:
    labels = tuple(map(text, group.values.values())) or (group.label,)
    counted = [run for run in group.runs if dataset in run.datasets()]
    return TableRow(labels, group.on(dataset), runs=len(counted))


def _widened(line: TableRow, width: int) -> TableRow:
    """A line of the paper, whose one label stands in the first of `width` columns."""
    empty = [""] * (width - 1)
    return replace(line, labels=(*line.labels, *empty))


def _results(table: Table, groups: Sequence[RunGroup], out_dir: Path, several: bool, note: str) -> ReportPart:
    """The section of one data set; `several` says whether there are others, `note` stands below the table."""
    measured: list[tuple[RunGroup, Results]] = []
    for group in groups:
        results = group.on(table.dataset)
        if results.get("accuracy"):
            measured.append((group, results))
    drawn = {
        "coefficient": ("Accuracy and length against the coefficient", _curves(measured)),
        "accuracy_length": ("Accuracy against length", _front(measured)),
    }
    blocks: list[str] = []
    for stem, (alt, figure) in drawn.items():
        if figure is not None:
            name = f"{stem}_{table.dataset}" if several else stem
            blocks.append(embed_figure(figure, out_dir, name, alt, pdf=True))
    reading = READ_AS if table.run_rows() else ""
    if table.ranked and len(table.run_rows()) > 1:
        reading += _RANKED
    if table.paper_rows():
        reading += _PAPER_READ_AS
    blocks += [to_markdown(table), reading]
    if note:
        blocks.append(note)
    title = f"Results: {table.dataset}" if several or table.paper_rows() else "Results"
    return Section(title, "\n\n".join(blocks))


def _curves(measured: Sequence[tuple[RunGroup, Results]]) -> "Figure | None":
    """Curves over the first key with several numbers as values, a line for each choice of the other keys."""
    keys = list(measured[0][0].values) if measured else []
    axis = _first_numeric([group for group, _ in measured], keys)
    if axis is None:
        return None
    lines: dict[str, dict[float, Results]] = {}
    for group, results in measured:
        x = _number(group, axis)
        if x is None:
            continue
        others = dict(group.values)
        del others[axis]
        label = RunGroup(others, ()).label if len(keys) > 1 else ""
        lines.setdefault(label, {})[x] = results
    return figures.against_coefficient(axis, lines)


def _first_numeric(groups: Sequence[RunGroup], keys: Sequence[str]) -> str | None:
    """The first of the keys that has more than one number as its value; None if there is none."""
    for key in keys:
        numbers = {_number(group, key) for group in groups} - {None}
        if len(numbers) > 1:
            return key
    return None


def _front(measured: Sequence[tuple[RunGroup, Results]]) -> "Figure | None":
    return figures.accuracy_against_length({group.label: results for group, results in measured})


def _number(group: RunGroup, key: str) -> float | None:
    """The value of a group's key, if it is a number."""
    value = group.values[key]
    return value if is_number(value) else None


def _differences(runs: Mapping[str, Run]) -> ReportPart:
    """A row for each run, with the keys of the configuration in which they differ."""
    flat = {name: flat_config(run) for name, run in runs.items()}
    varying = []
    for key in sorted(set().union(*flat.values())):
        found = {str(values.get(key)) for values in flat.values()}
        if len(found) > 1:
            varying.append(key)
    title = "What differs"
    if not varying:
        return MissingSection(title, "the configurations are the same, or missing")
    rows = []
    for name, values in flat.items():
        rows.append([name, *(str(values.get(key, ABSENT)) for key in varying)])
    return Section(title, tables.markdown(["run", *(f"`{key}`" for key in varying)], rows, numbers=False))


def short_names(run_dirs: Iterable[Path]) -> dict[str, Path]:
    """Folder names, with the folder above where two are the same. Links stay: one may be the part of a pipeline."""
    paths = [Path(os.path.abspath(path)) for path in run_dirs]
    names = [path.name for path in paths]
    by_name: dict[str, Path] = {}
    for path in paths:
        is_alone = names.count(path.name) == 1
        by_name[path.name if is_alone else f"{path.parent.name}/{path.name}"] = path
    return by_name
