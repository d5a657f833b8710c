"""`report.md` with its figures, from run folders alone. What a run does not have is left out, and said so."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetrl.report import figures, tables
from budgetrl.report.reading import Estimate, Results, Row, Run, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDS = 10
"""Training steps averaged at either end, where a run's start and end are put in words."""
EXCERPT_HEAD, EXCERPT_TAIL = 420, 180
"""Characters of a completion that an example shows."""
SETTINGS = ("seed", "model", "dataset", "stage", "reward", "algorithm", "rollout", "zero", "launch")
"""Groups of the configuration that decide what comes out, or how fast."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    body: str


@dataclass(frozen=True)
class Gap:
    """A section that could not be written, and why."""

    title: str
    reason: str


Part = Section | Gap


def write_report(run_dir: Path, result: Mapping[str, float] | None = None) -> Path:
    """Write `report.md` and `figures/*.png` into a run folder; returns the report's path.

    `result` stands in for a `result.json` that is not written yet. Raises RequestError for a torn file.
    """
    run = read_run(run_dir, result)
    parts = [*_KINDS.get(run.stage, _training_run)(run), *_ending(run)]
    return _write(run_dir, run_dir.resolve().name, _headline(run), parts)


def write_comparison(run_dirs: Sequence[Path], out_dir: Path) -> Path:
    """Write one report over several runs into `out_dir`: where they differ, and what came out."""
    runs = {name: read_run(path) for name, path in _short_names(run_dirs).items()}
    names = dict.fromkeys(dataset for run in runs.values() for dataset in _final(run).datasets())
    parts: list[Part] = [_differences(runs)]
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
        yield Section(f"Before and after{suffix}", _before_after(run, trained, dataset, models))
        yield _levels(run, dataset, models, suffix)
        yield from _budget_figures(run, trained, dataset, suffix)
    yield _curves(run, grpo)
    yield _on_the_way(run)
    yield _example(initial, trained)


def _evaluation_run(run: Run) -> Iterator[Part]:
    datasets = run.result.datasets()
    if not datasets:
        yield Gap("Results", "result.json has no results")
        return
    yield Section("Results", _evaluation(run, datasets))
    for dataset in datasets:
        suffix = f": {dataset}" if len(datasets) > 1 else ""
        yield _levels(run, dataset, {"": run.result.below(dataset)}, suffix)
        yield from _budget_figures(run, run, dataset, suffix)


def _training_run(run: Run) -> Iterator[Part]:
    yield _curves(run, run)
    if datasets := run.result.datasets():
        table = tables.evaluation({dataset: run.result.below(dataset) for dataset in datasets})
        yield Section("Results at the end", f"{table}\n\n{_ERRORS}")
    for dataset in datasets:
        yield _levels(
            run, dataset, {"": run.result.below(dataset)}, f": {dataset}" if len(datasets) > 1 else ""
        )
    yield _late_samples(run)


_KINDS: dict[str, Callable[[Run], Iterator[Part]]] = {
    "pipeline": _pipeline_run,
    "evaluate": _evaluation_run,
}


def _ending(run: Run) -> Iterator[Part]:
    yield _settings(run)
    if run.stage != "evaluate":
        yield _serving(run)
    yield _again(run)


# Headlines


def _headline(run: Run) -> str:
    if run.stage == "pipeline":
        return " ".join(_pipeline_headlines(run))
    if run.stage == "evaluate":
        return " ".join(_evaluation_headline(run, dataset) for dataset in run.result.datasets())
    return _training_headline(run)


def _pipeline_headlines(run: Run) -> Iterator[str]:
    datasets = run.result.below("trained").datasets()
    for dataset in datasets:
        numbers = run.result.numbers
        before, after = numbers.get(f"initial/{dataset}/length"), numbers.get(f"trained/{dataset}/length")
        accuracy = numbers.get(f"trained/{dataset}/accuracy")
        if before is None or after is None or accuracy is None:
            continue
        shorter = _percentage(run.result.get(f"{dataset}/compression"), "shorter", "longer")
        better = _points(run.result.get(f"{dataset}/accuracy_change"))
        where = f"{dataset}: " if len(datasets) > 1 else ""
        right = f"{100 * accuracy:.1f} % accuracy{better}"
        yield f"{where}{after:.0f} tokens instead of {before:.0f}{shorter} at {right}."


def _percentage(estimate: Estimate | None, less: str, more: str) -> str:
    if estimate is None:
        return ""
    word = less if estimate.value >= 0 else more
    return f" ({abs(100 * estimate.value):.0f} % {word}{_se(estimate)})"


def _points(estimate: Estimate | None) -> str:
    return "" if estimate is None else f" ({100 * estimate.value:+.1f} points{_se(estimate)})"


def _se(estimate: Estimate) -> str:
    return "" if estimate.error is None else f", SE {100 * estimate.error:.1f}"


def _evaluation_headline(run: Run, dataset: str) -> str:
    results = run.result.below(dataset)
    accuracy = tables.quantity("accuracy", results.get("accuracy"))
    return f"{dataset}: {accuracy} right, in {tables.quantity('length', results.get('length'))} tokens."


def _training_headline(run: Run) -> str:
    """From the first steps to the last, in words."""
    rows = run.metrics
    changes = [
        f"{name} from {_at(rows[:ENDS], key, scale, digits)} to {_at(rows[-ENDS:], key, scale, digits)}{unit}"
        for key, name, scale, digits, unit in _HEADLINE_METRICS
        if any(row.get(key) is not None for row in rows[:ENDS])
        and any(row.get(key) is not None for row in rows[-ENDS:])
    ]
    if not changes:
        return ""
    return f"In {rows[-1]['step']} steps: {', '.join(changes)} (means of the first and last {ENDS} steps)."


_HEADLINE_METRICS = (
    ("accuracy", "accuracy", 100, 1, " %"),
    ("length", "length", 1, 0, " tokens"),
    ("budget", "budget", 1, 0, " tokens"),
)
"""Metric, its name, factor, decimals, unit. A run without any of them has only a loss: no headline."""


def _at(rows: Sequence[Row], key: str, scale: float, digits: int) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return f"{scale * sum(values) / len(values):.{digits}f}"


# Sections


def _before_after(run: Run, trained: Run, dataset: str, models: Mapping[str, Results]) -> str:
    table = tables.before_after(models["initial"], models["trained"], run.result.below(dataset))
    return f"{table}\n\n{_basis(trained.free(dataset))}"


def _evaluation(run: Run, datasets: Sequence[str]) -> str:
    table = tables.evaluation({dataset: run.result.below(dataset) for dataset in datasets})
    return f"{table}\n\n{_basis([row for dataset in datasets for row in run.free(dataset)])}"


def _basis(rows: Sequence[Row]) -> str:
    """What the errors mean, and on how many completions the numbers rest."""
    if not rows:
        return _ERRORS
    problems = len({row["problem_id"] for row in rows})
    return f"{_ERRORS} {len(rows):,} completions of {problems:,} problems."


_ERRORS = "± is one standard error; samples of one problem count as one draw."


def _levels(run: Run, dataset: str, models: Mapping[str, Results], suffix: str) -> Part:
    title = f"By level{suffix}"
    figure = figures.by_level(models)
    if figure is None:
        return Gap(title, "the problems have no levels")
    picture = _picture(figure, run.path, "by_level", dataset, suffix, "Accuracy, length and budget by level")
    return Section(title, f"{picture}\n\n{tables.by_level(models)}")


def _budget_figures(run: Run, evaluated: Run, dataset: str, suffix: str) -> Iterator[Part]:
    title = f"Are budgets kept?{suffix}"
    figure = figures.budget_against_length(evaluated.free(dataset))
    if figure is None:
        yield Gap(title, "no completion has a budget of its own")
    else:
        yield Section(
            title, _picture(figure, run.path, "budget_length", dataset, suffix, "Length against budget")
        )
    title = f"Does a budget of yours control the length?{suffix}"
    figure = figures.length_control(evaluated.controlled(dataset))
    if figure is None:
        yield Gap(title, "no completion began with a user's budget")
    else:
        alt = "Length obtained against budget pre-filled"
        picture = _picture(figure, run.path, "length_control", dataset, suffix, alt)
        yield Section(title, f"{picture}\n\n{_CONTROLLED}")


_KEPT = "Each cell is coloured by the completions in it; on the dashed line the length is what was announced."
_CONTROLLED = (
    "On the dashed line a model writes as much as it was given. Flat ends: no answer is so short or long."
)


def _curves(run: Run, trained: Run) -> Part:
    title = "Training"
    figure = figures.training_curves(trained.metrics)
    if figure is None:
        return Gap(title, f"{trained.path / 'metrics.jsonl'} is missing or has no metric to draw")
    picture = _picture(figure, run.path, "training", "", "", "Training curves")
    return Section(title, f"{picture}\n\nThin: each step. Bold: running mean.")


def _late_samples(run: Run) -> Part:
    """Budgets against lengths at the end of training: the last fifth of the sampled completions."""
    title = "Are budgets kept, late in training?"
    rows = run.completions[-len(run.completions) // 5 :]
    figure = figures.budget_against_length(rows)
    if figure is None:
        return Gap(title, "completions.jsonl is missing or has no budgets")
    picture = _picture(figure, run.path, "budget_length", "", "", "Length against budget")
    return Section(title, f"{picture}\n\n{_KEPT}")


def _on_the_way(run: Run) -> Part:
    """What the cold start and the labels came to, in words."""
    title = "On the way"
    cold_start, label = (read_run(run.path / name).result for name in ("cold_start", "label"))
    said = [
        words.format(tables.quantity(metric, results.get(metric)))
        for results, metric, words in (
            (
                cold_start,
                "kept",
                "{} of the initial model's completions were right and kept for the cold start.",
            ),
            (cold_start, "format", "After it, {} of the completions kept the format,"),
            (cold_start, "match_50", "and {} had a length within 50 % of their budget."),
            (label, "finite", "{} of the training problems have a reference length,"),
            (label, "b_max", "{} tokens on average."),
        )
        if results.get(metric)
    ]
    return Section(title, " ".join(said)) if said else Gap(title, "cold_start/ and label/ have no results")


def _example(initial: Run, trained: Run) -> Part:
    """The problem that was shortened most typically: both right, the ratio of lengths nearest the median."""
    title = "An example"
    before = {row["problem_id"]: row for row in initial.completions if row["correct"]}
    after = {r["problem_id"]: r for r in trained.completions if r["correct"] and r.get("prefilled") is None}
    ratios = {i: after[i]["length"] / max(1, before[i]["length"]) for i in after if i in before}
    if not ratios:
        return Gap(title, "no problem was answered rightly both before and after")
    typical = sorted(ratios.items(), key=lambda item: (item[1], item[0]))[len(ratios) // 2][0]
    return Section(title, _side_by_side(before[typical], after[typical]))


def _side_by_side(before: Row, after: Row) -> str:
    level = "" if before.get("level") is None else f" (level {before['level']})"
    return "\n\n".join(
        [
            f"Problem{level}, answer {before['answer']}:",
            _fenced(_excerpt(before["problem"])),
            f"Initial model, {before['length']} tokens:",
            _fenced(_excerpt(before["text"])),
            f"Trained model, {after['length']} tokens, budget {after.get('budget') or tables.ABSENT}:",
            _fenced(_excerpt(after["text"])),
        ]
    )


def _excerpt(text: str) -> str:
    """Beginning and end, in lines that fit a page."""
    if len(text) > EXCERPT_HEAD + EXCERPT_TAIL:
        left_out = len(text) - EXCERPT_HEAD - EXCERPT_TAIL
        text = f"{text[:EXCERPT_HEAD]}\n[... {left_out:,} characters ...]\n{text[-EXCERPT_TAIL:]}"
    lines = (line for long in text.strip().splitlines() for line in textwrap.wrap(long, 100) or [""])
    return "\n".join(lines)


def _settings(run: Run) -> Part:
    title = "Settings"
    rows = [
        row for group in SETTINGS if group in run.config for row in _setting_rows(group, run.config[group])
    ]
    if not rows:
        return Gap(title, "config.yaml is missing")
    return Section(title, tables.markdown(["group", "values"], rows, numbers=False))


def _setting_rows(group: str, value: Any) -> Iterator[list[str]]:
    """A row for a group, and one for each group inside it. Null and empty fields say nothing."""
    if not isinstance(value, Mapping):
        yield [f"`{group}`", str(value)]
        return
    given = {key: item for key, item in value.items() if item not in (None, "", [], {})}
    plain = [f"{key} {item}" for key, item in given.items() if not isinstance(item, Mapping)]
    yield [f"`{group}`", ", ".join(plain)]
    for key, item in given.items():
        if isinstance(item, Mapping):
            yield from _setting_rows(f"{group}.{key}", item)


def _serving(run: Run) -> Part:
    title = "Use the model"
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return Gap(title, "there is no checkpoint")
    wish = run.config.get("model", {}).get("budget_instruction") or ""
    return Section(
        title, _SERVING.format(checkpoint=checkpoint, question=repr("...\n\n" + wish if wish else "..."))
    )


def _checkpoint(run: Run) -> Path | None:
    """The best checkpoint if one was kept, else the last."""
    folders = [
        run.path / stage / "checkpoints" / name for stage in ("grpo", ".") for name in ("best", "last")
    ]
    return next((folder for folder in folders if folder.is_dir()), None)


_SERVING = """\
`{checkpoint}` is an ordinary Hugging Face folder:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "{checkpoint}"
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
question = [{{"role": "user", "content": {question}}}]
prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
prompt = prompt.removesuffix("\\n").removesuffix("<think>")  # the budget comes before any thinking
# prompt += "<budget>200</budget>"  # to set the budget yourself
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=4096)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))
```

To serve it: `vllm serve {checkpoint}`, then send prompts made as above to `/v1/completions`."""


def _again(run: Run) -> Part:
    title = "Run it again"
    if not (run.path / "launch.sh").exists():
        return Gap(title, "launch.sh is missing")
    return Section(title, f"`sh {run.path / 'launch.sh'}` starts this run with the same configuration.")


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
    rows = [
        [name, *(str(values.get(key, tables.ABSENT)) for key in varying)] for name, values in flat.items()
    ]
    return Section(title, tables.markdown(["run", *(f"`{key}`" for key in varying)], rows, numbers=False))


def _comparison(runs: Mapping[str, Run], dataset: str, out_dir: Path, several: bool) -> Iterator[Part]:
    suffix = f": {dataset}" if several else ""
    results = {name: _final(run).below(dataset) for name, run in runs.items()}
    found = {name: numbers for name, numbers in results.items() if numbers.get("accuracy")}
    shorter = {name: runs[name].result.get(f"{dataset}/compression") for name in found}
    figure = figures.accuracy_against_length(found)
    body = f"{tables.runs(found, shorter)}\n\n{_ERRORS}"
    if figure is not None:
        alt = "Accuracy against length"
        body = f"{_picture(figure, out_dir, 'accuracy_length', dataset, suffix, alt)}\n\n{body}"
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


def _picture(figure: "Figure", folder: Path, name: str, dataset: str, suffix: str, alt: str) -> str:
    """Save a figure; returns the Markdown that shows it. `suffix`: its name says the data set, too."""
    stem = f"{name}_{dataset}".replace("/", "_") if suffix else name
    figures.save(figure, folder / "figures" / f"{stem}.png")
    return f"![{alt}](figures/{stem}.png)"


def _fenced(text: str) -> str:
    return f"~~~~~text\n{text}\n~~~~~"


def _write(folder: Path, title: str, headline: str, parts: Sequence[Part]) -> Path:
    sections = [f"## {part.title}\n\n{part.body}" for part in parts if isinstance(part, Section)]
    gaps = [f"- {part.title}: {part.reason}." for part in parts if isinstance(part, Gap)]
    if gaps:
        sections.append("## Left out\n\n" + "\n".join(gaps))
    blocks = [f"# {title}", *([f"**{headline}**"] if headline else []), *sections]
    path = folder / "report.md"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n")
    return path
