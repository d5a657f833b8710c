"""`report.md` with its figures, from run folders alone. What a run does not have is left out, and said so."""

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
    """Write `report.md` and `figures/*.png` into a run folder, or another one, `out`; returns the report's path.

    `result` stands in for a `result.json` that is not written yet. Raises RequestError for a torn file.
    """
    run = replace(read_run(run_dir, result), written_to=out)
    parts = [*_KINDS.get(run.stage, _training_run)(run), *_ending(run)]
    return write_sections(run.out / "report.md", run_dir.resolve().name, headline(run), parts)


# What is in the report of each kind of run


def _pipeline_run(run: Run) -> Iterator[ReportPart]:
    initial, trained, grpo = (read_run(run.path / name) for name in (INITIAL, TRAINED, GRPO))
    datasets = run.datasets()
    if not datasets:
        yield MissingSection("Before and after", "result.json has no results of the trained model")
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        models = {name: run.result.of(dataset, name) for name in EVALUATIONS}
        yield Section(f"Before and after{suffix}", sections.before_after(run, trained, dataset, models))
        yield sections.level_results(run, models, suffix)
        yield from sections.budget_figures(run, trained, dataset, suffix)
        yield from sections.cut_off(run, models, suffix)
    yield sections.curves(run, grpo)
    yield sections.intermediate_stages(run)
    yield sections.example(initial, trained)


def _evaluation_run(run: Run) -> Iterator[ReportPart]:
    datasets = run.datasets()
    if not datasets:
        yield MissingSection("Results", "result.json has no results")
        return
    yield Section("Results", sections.evaluation(run, datasets))
    yield from sections.changes_from_earlier(run, datasets)
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        yield sections.level_results(run, {"": run.result.of(dataset)}, suffix)
        yield from sections.budget_figures(run, run, dataset, suffix)
        yield from sections.cut_off(run, {"": run.result.of(dataset)}, suffix)


def _training_run(run: Run) -> Iterator[ReportPart]:
    yield sections.curves(run, run)
    if datasets := run.datasets():
        table = tables.evaluation({dataset: run.result.of(dataset) for dataset in datasets})
        yield Section("Results at the end", f"{table}\n\n{sections.ERRORS}")
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        yield sections.level_results(run, {"": run.result.of(dataset)}, suffix)
    yield sections.late_budget_adherence(run)


_KINDS: dict[str, Callable[[Run], Iterator[ReportPart]]] = {
    PIPELINE: _pipeline_run,
    "evaluate": _evaluation_run,
}


def _ending(run: Run) -> Iterator[ReportPart]:
    yield sections.settings(run)
    if run.stage != "evaluate":
        yield serving(run)
    yield sections.rerun_command(run)


# Writing


def write_sections(path: Path, title: str, summary: str, parts: Sequence[ReportPart]) -> Path:
    """Write a report; what could not be written is listed at its end."""
    blocks = [f"# {title}"]
    if summary:
        blocks.append(f"**{summary}**")
    gaps: list[str] = []
    for part in parts:
        if isinstance(part, Section):
            blocks.append(f"## {part.title}\n\n{part.body}")
        else:
            gaps.append(f"- {part.title}: {part.reason}.")
    if gaps:
        blocks.append("## Left out\n\n" + "\n".join(gaps))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n")
    return path
