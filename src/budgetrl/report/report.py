"""`report.md` and its figures, written from a run folder. Sections whose data is missing are listed at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from budgetrl.report import sections, tables
from budgetrl.report.headlines import headline
from budgetrl.report.reading import PIPELINE, Run, read_run
from budgetrl.report.sections import MissingSection, ReportPart, Section
from budgetrl.report.serving import serving
from budgetrl.runs.parts import EVALUATIONS, GRPO, INITIAL, TRAINED


def write_report(run_dir: Path, result: Mapping[str, float] | None = None, out: Path | None = None) -> Path:
    """Write `report.md` and `figures/*.png` into the run folder, or into `out`, and return the report's path.

    `result` replaces a `result.json` that is not written yet.

    Raises:
        RequestError: A file of the run cannot be read.
    """
    run = replace(read_run(run_dir, result), written_to=out)
    results = _KINDS.get(run.stage, _training_parts)
    parts = [*results(run), *_closing_parts(run)]
    return write_sections(run.out / "report.md", run_dir.resolve().name, headline(run), parts)


# The parts of each kind of run, in reading order


def _pipeline_parts(run: Run) -> Iterator[ReportPart]:
    initial = read_run(run.path / INITIAL)
    trained = read_run(run.path / TRAINED)
    grpo = read_run(run.path / GRPO)
    datasets = run.datasets()
    if not datasets:
        yield MissingSection("Before and after training", "result.json has no results of the trained model")
    for dataset in datasets:
        suffix = _suffix(dataset, datasets)
        models = {name: run.result.of(dataset, name) for name in EVALUATIONS}
        body = sections.before_after(run, trained, dataset, models)
        yield Section(f"Before and after training{suffix}", body)
        yield sections.level_results(run, models, suffix)
        yield from sections.budget_figures(run, trained, dataset, suffix)
        yield from sections.token_limits(run, models, suffix)
    yield sections.training_curves(run, grpo)
    yield sections.intermediate_stages(run)
    yield sections.example(initial, trained)


def _evaluation_parts(run: Run) -> Iterator[ReportPart]:
    datasets = run.datasets()
    if not datasets:
        yield MissingSection("Results", "result.json has no results")
        return
    yield Section("Results", sections.evaluation(run))
    yield from sections.changes_from_earlier(run)
    for dataset in datasets:
        suffix = _suffix(dataset, datasets)
        models = {"": run.result.of(dataset)}  # a single model needs no name in legends
        yield sections.level_results(run, models, suffix)
        yield from sections.budget_figures(run, run, dataset, suffix)
        yield from sections.token_limits(run, models, suffix)


def _training_parts(run: Run) -> Iterator[ReportPart]:
    yield sections.training_curves(run, run)
    datasets = run.datasets()
    if datasets:
        table = tables.evaluation(run.results_by_dataset())
        yield Section("Final results", f"{table}\n\n{sections.ERRORS}")
    for dataset in datasets:
        yield sections.level_results(run, {"": run.result.of(dataset)}, _suffix(dataset, datasets))
    yield sections.late_budget_adherence(run)


def _suffix(dataset: str, datasets: Sequence[str]) -> str:
    """Return what follows a section's title: the data set, if there are several."""
    return f": {dataset}" if len(datasets) > 1 else ""


_KINDS: dict[str, Callable[[Run], Iterator[ReportPart]]] = {
    PIPELINE: _pipeline_parts,
    "evaluate": _evaluation_parts,
}
"""The parts of a report by stage. Any other stage is reported as a training run."""


def _closing_parts(run: Run) -> Iterator[ReportPart]:
    yield sections.settings(run)
    if run.stage != "evaluate":
        yield serving(run)
    yield sections.rerun_command(run)


def write_sections(path: Path, title: str, summary: str, parts: Sequence[ReportPart]) -> Path:
    """Write a report and return its path. Parts that are missing are listed at its end with the reason."""
    blocks = [f"# {title}"]
    if summary:
        blocks.append(f"**{summary}**")
    omitted: list[str] = []
    for part in parts:
        if isinstance(part, Section):
            blocks.append(f"## {part.title}\n\n{part.body}")
        else:
            omitted.append(f"- {part.title}: {part.reason}.")
    if omitted:
        blocks.append("## Omitted\n\n" + "\n".join(omitted))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n")
    return path
