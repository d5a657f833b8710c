"""`report.md` with its figures, from run folders alone. What a run does not have is left out, and said so."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from budgetrl.report import figures, sections, tables
from budgetrl.report.comparable import not_comparable
from budgetrl.report.headlines import headline
from budgetrl.report.reading import Results, Run, read_run
from budgetrl.report.sections import Gap, Part, Section


def write_report(run_dir: Path, result: Mapping[str, float] | None = None) -> Path:
    """Write `report.md` and `figures/*.png` into a run folder; returns the report's path.

    `result` stands in for a `result.json` that is not written yet. Raises RequestError for a torn file.
    """
    run = read_run(run_dir, result)
    parts = [*_KINDS.get(run.stage, _training_run)(run), *_ending(run)]
    return _write(run_dir, run_dir.resolve().name, headline(run), parts)


def write_comparison(run_dirs: Sequence[Path], out_dir: Path) -> Path:
    """Write one report over several runs into `out_dir`: where they differ, and what came out."""
    runs = {name: read_run(path) for name, path in _short_names(run_dirs).items()}
    names = dict.fromkeys(dataset for run in runs.values() for dataset in _final(run).datasets())
    parts: list[Part] = [_differences(runs), *not_comparable(runs)]
    for dataset in names:
        parts += _comparison(runs, dataset, out_dir, several=len(names) > 1)
    parts += [Gap(name, "the run has no results") for name, run in runs.items() if not _final(run).datasets()]
    return _write(out_dir, f"{len(runs)} runs", "", parts)


# What is in the report of each kind of run


def _pipeline_run(run: Run) -> Iterator[Part]:
    initial, trained, grpo = (read_run(run.path / name) for name in ("initial", "trained", "grpo"))
    datasets = run.result.below("trained").datasets()
    if not datasets:
        yield Gap("Before and after", "result.json has no results of the trained model")
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        models = {name: run.result.below(f"{name}/{dataset}") for name in ("initial", "trained")}
        yield Section(f"Before and after{suffix}", sections.before_after(run, trained, dataset, models))
        yield sections.levels(run, dataset, models, suffix)
        yield from sections.budget_figures(run, trained, dataset, suffix)
    yield sections.curves(run, grpo)
    yield sections.on_the_way(run)
    yield sections.example(initial, trained)


def _evaluation_run(run: Run) -> Iterator[Part]:
    datasets = run.result.datasets()
    if not datasets:
        yield Gap("Results", "result.json has no results")
        return
    yield Section("Results", sections.evaluation(run, datasets))
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        yield sections.levels(run, dataset, {"": run.result.below(dataset)}, suffix)
        yield from sections.budget_figures(run, run, dataset, suffix)


def _training_run(run: Run) -> Iterator[Part]:
    yield sections.curves(run, run)
    if datasets := run.result.datasets():
        table = tables.evaluation({dataset: run.result.below(dataset) for dataset in datasets})
        yield Section("Results at the end", f"{table}\n\n{sections.ERRORS}")
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        yield sections.levels(run, dataset, {"": run.result.below(dataset)}, suffix)
    yield sections.late_samples(run)


_KINDS: dict[str, Callable[[Run], Iterator[Part]]] = {
    "pipeline": _pipeline_run,
    "evaluate": _evaluation_run,
}


def _ending(run: Run) -> Iterator[Part]:
    yield sections.settings(run)
    if run.stage != "evaluate":
        yield sections.serving(run)
    yield sections.again(run)


# Comparing runs


def _final(run: Run) -> Results:
    """The numbers a run is judged by: a pipeline's are those of its trained model."""
    return run.result.below("trained") if run.stage == "pipeline" else run.result


def _differences(runs: Mapping[str, Run]) -> Part:
    flat = {name: dict(_flat(run.config)) for name, run in runs.items()}
    keys = sorted({key for values in flat.values() for key in values})
    varying = [key for key in keys if len({str(values.get(key)) for values in flat.values()}) > 1]
    title = "What differs"
    if not varying:
        return Gap(title, "the configurations are the same, or missing")
    rows = [[name, *(str(values.get(key, tables.ABSENT)) for key in varying)] for name, values in flat.items()]
    return Section(title, tables.markdown(["run", *(f"`{key}`" for key in varying)], rows, numbers=False))


def _comparison(runs: Mapping[str, Run], dataset: str, out_dir: Path, several: bool) -> Iterator[Part]:
    suffix = f": {dataset}" if several else ""
    results = {name: _final(run).below(dataset) for name, run in runs.items()}
    found = {name: numbers for name, numbers in results.items() if numbers.get("accuracy")}
    shorter = {name: runs[name].result.get(f"{dataset}/compression") for name in found}
    figure = figures.accuracy_against_length(found)
    body = f"{tables.runs(found, shorter)}\n\n{sections.ERRORS}"
    if figure is not None:
        alt = "Accuracy against length"
        body = f"{sections.show(figure, out_dir, 'accuracy_length', dataset, suffix, alt)}\n\n{body}"
    yield Section(f"Results{suffix}", body)


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif f"{above}{key}" not in ("run.dir", "run.root"):
            yield f"{above}{key}", value


def _short_names(run_dirs: Iterable[Path]) -> dict[str, Path]:
    """Folder names, with the folder above where two are the same."""
    paths = [path.resolve() for path in run_dirs]
    names = [path.name for path in paths]
    return {p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}": p for p in paths}


# Writing


def _write(folder: Path, title: str, summary: str, parts: Sequence[Part]) -> Path:
    written = [f"## {part.title}\n\n{part.body}" for part in parts if isinstance(part, Section)]
    gaps = [f"- {part.title}: {part.reason}." for part in parts if isinstance(part, Gap)]
    if gaps:
        written.append("## Left out\n\n" + "\n".join(gaps))
    blocks = [f"# {title}", *([f"**{summary}**"] if summary else []), *written]
    path = folder / "report.md"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n")
    return path
