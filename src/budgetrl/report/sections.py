"""The sections of a report, one function each. One that cannot be written says why."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetrl.metrics.keys import PartKind
from budgetrl.metrics.results import Results
from budgetrl.report import figures, tables
from budgetrl.report.numbers import quantity
from budgetrl.report.reading import Run, read_run
from budgetrl.runs.folder import Row
from budgetrl.runs.parts import COLD_START, INITIAL, LABEL, TRAINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXCERPT_HEAD, EXCERPT_TAIL = 420, 180
"""Characters of a completion that an example shows."""
SETTINGS = ("seed", "model", "dataset", "stage", "reward", "algorithm", "rollout", "zero")
"""Groups of the configuration that decide what comes out, or how fast."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    body: str


@dataclass(frozen=True)
class MissingSection:
    """A section that could not be written, and why."""

    title: str
    reason: str


ReportPart = Section | MissingSection


def before_after(run: Run, trained: Run, dataset: str, models: Mapping[str, Results]) -> str:
    """The table of one data set, initial model against trained."""
    table = tables.before_after(models[INITIAL], models[TRAINED], run.result.of(dataset))
    return f"{table}\n\n{_basis(trained.free(dataset))}"


def evaluation(run: Run, datasets: Sequence[str]) -> str:
    """The table of an evaluation, a column for each data set."""
    table = tables.evaluation({dataset: run.result.of(dataset) for dataset in datasets})
    rows: list[Row] = []
    for dataset in datasets:
        rows += run.free(dataset)
    return f"{table}\n\n{_basis(rows)}"


def changes_from_earlier(run: Run, datasets: Sequence[str]) -> Iterator[Section]:
    """What changed since another evaluation, where this one was told to compare itself with it."""
    if earlier := run.config.get("stage", {}).get("against"):
        table = tables.gains({dataset: run.result.of(dataset) for dataset in datasets})
        yield Section("What changed", f"{table}\n\nAgainst `{earlier}`, paired by problem.")


def _basis(rows: Sequence[Row]) -> str:
    """What the errors mean, and on how many completions the numbers rest."""
    if not rows:
        return ERRORS
    problems = len({row["problem_id"] for row in rows})
    return f"{ERRORS} {len(rows):,} completions of {problems:,} problems."


ERRORS = "± is one standard error; samples of one problem count as one draw. None where all completions were alike."


def level_results(run: Run, models: Mapping[str, Results], suffix: str) -> ReportPart:
    """Figure and table by level of one data set, for each of `models`. `suffix` tells data sets apart."""
    title = f"By level{suffix}"
    figure = figures.by_level(models)
    if figure is None:
        return MissingSection(title, "the problems have no levels")
    shown = embed_figure(figure, run.out, f"by_level{suffix}", "Accuracy, length and budget by level")
    return Section(title, f"{shown}\n\n{tables.by_level(models)}")


def budget_figures(run: Run, evaluated: Run, dataset: str, suffix: str) -> Iterator[ReportPart]:
    """Whether budgets are kept, and whether they control the length; figures go to `run`."""
    title = f"Are budgets kept?{suffix}"
    figure = figures.budget_against_length(evaluated.free(dataset))
    if figure is None:
        yield MissingSection(title, "no completion has a budget of its own")
    else:
        shown = embed_figure(figure, run.out, f"budget_length{suffix}", "Length against budget")
        yield Section(title, f"{shown}\n\n{_KEPT}")
    title = f"Does a budget of yours control the length?{suffix}"
    figure = figures.length_control(evaluated.controlled(dataset))
    if figure is None:
        yield MissingSection(title, "no completion began with a user's budget")
    else:
        alt = "Length obtained against budget pre-filled"
        shown = embed_figure(figure, run.out, f"length_control{suffix}", alt)
        yield Section(title, f"{shown}\n\n{_CONTROLLED}")


_KEPT = "Each cell is colored by the completions in it; on the dashed line the length is what was announced."
_CONTROLLED = "On the dashed line a model writes as much as it was given. Flat ends: no answer is so short or long."


def cut_off(run: Run, models: Mapping[str, Results], suffix: str) -> Iterator[ReportPart]:
    """What hard cut-offs leave of a data set's accuracy, for each model that has them, and what given budgets do."""
    cut = {model: results for model, results in models.items() if results.part_numbers(PartKind.CUTOFF)}
    figure = figures.accuracy_against_limit(models) if cut else None
    if figure is None:
        return
    alt = "Accuracy against cut-offs and given budgets"
    shown = embed_figure(figure, run.out, f"cut_off{suffix}", alt)
    blocks = [shown, _CUT_OFF]
    for model, results in cut.items():
        if model:
            blocks.append(f"{model} model:")
        blocks.append(tables.cutoffs(results))
    yield Section(f"Cut off{suffix}", "\n\n".join(blocks))


_CUT_OFF = (
    "A completion counts as right at a cut-off if it is right and has ended by then. The right panel compares at equal "
    "price: what is cut off is paid for up to there."
)


def curves(run: Run, trained: Run) -> ReportPart:
    """The training curves of `trained`, in a figure of `run`."""
    title = "Training"
    figure = figures.training_curves(trained.metrics)
    if figure is None:
        return MissingSection(title, f"{trained.path / 'metrics.jsonl'} is missing or has no metric to draw")
    shown = embed_figure(figure, run.out, "training", "Training curves")
    return Section(title, f"{shown}\n\nThin: each step. Bold: running mean.")


def late_budget_adherence(run: Run) -> ReportPart:
    """Budgets against lengths at the end of training: the last fifth of the sampled completions."""
    title = "Are budgets kept, late in training?"
    rows = run.completions[-len(run.completions) // 5 :]
    figure = figures.budget_against_length(rows)
    if figure is None:
        return MissingSection(title, "completions.jsonl is missing or has no budgets")
    shown = embed_figure(figure, run.out, "budget_length", "Length against budget")
    return Section(title, f"{shown}\n\n{_KEPT}")


def intermediate_stages(run: Run) -> ReportPart:
    """What the cold start and the labels came to, in words."""
    title = "On the way"
    said: list[str] = []
    for part, sentences in _ON_THE_WAY.items():
        results = read_run(run.path / part).result
        for metric, words in sentences.items():
            estimate = results.get(metric)
            if estimate:
                said.append(words.format(quantity(metric, estimate)))
    if not said:
        return MissingSection(title, "cold_start/ and label/ have no results")
    return Section(title, " ".join(said))


_ON_THE_WAY = {
    COLD_START: {
        "kept": "{} of the initial model's completions, all of them right, were kept for the cold start.",
        "format": "After it, {} of the completions kept the format,",
        "match_50": "and {} had a length within 50 % of their budget.",
    },
    LABEL: {
        "finite": "{} of the training problems have a reference length,",
        "b_max": "{} tokens on average.",
    },
}
"""What is said of a pipeline's parts, by the metric that a sentence is about."""


def example(initial: Run, trained: Run) -> ReportPart:
    """The problem that was shortened most typically: both right, the ratio of lengths nearest the median."""
    title = "An example"
    before, after = _right_by_problem(initial), _right_by_problem(trained)
    shortened: list[tuple[float, tuple[str, str]]] = []
    for problem in before.keys() & after.keys():
        ratio = after[problem]["length"] / max(1, before[problem]["length"])
        shortened.append((ratio, problem))
    if not shortened:
        return MissingSection(title, "no problem was answered rightly both before and after")
    shortened.sort()
    _, typical = shortened[len(shortened) // 2]
    return Section(title, _side_by_side(before[typical], after[typical]))


def _right_by_problem(run: Run) -> dict[tuple[str, str], Row]:
    """A right completion of each problem of each data set, with a budget of the model's own if any."""
    by_problem: dict[tuple[str, str], Row] = {}
    for row in run.completions:
        if row["correct"] and row.get("prefilled") is None:
            by_problem[row.get("dataset", ""), row["problem_id"]] = row
    return by_problem


def _side_by_side(before: Row, after: Row) -> str:
    level = "" if before.get("level") is None else f" (level {before['level']})"
    budget = f", budget {after['budget']}" if after.get("budget") else ""
    return "\n\n".join(
        [
            f"Problem{level}, answer {before['answer']}:",
            _fenced(_excerpt(before["problem"])),
            f"Initial model, {before['length']} tokens:",
            _fenced(_excerpt(before["text"])),
            f"Trained model, {after['length']} tokens{budget}:",
            _fenced(_excerpt(after["text"])),
        ]
    )


def _excerpt(text: str) -> str:
    """Beginning and end, in lines that fit a page."""
    if len(text) > EXCERPT_HEAD + EXCERPT_TAIL:
        left_out = len(text) - EXCERPT_HEAD - EXCERPT_TAIL
        text = f"{text[:EXCERPT_HEAD]}\n[... {left_out:,} characters ...]\n{text[-EXCERPT_TAIL:]}"
    lines: list[str] = []
    for line in text.strip().splitlines():
        lines += textwrap.wrap(line, 100) or [""]  # textwrap makes nothing of an empty line
    return "\n".join(lines)


def settings(run: Run) -> ReportPart:
    """The configuration, a row for each group."""
    title = "Settings"
    rows: list[list[str]] = []
    for group in SETTINGS:
        if group in run.config:
            rows += _setting_rows(group, run.config[group])
    if not rows:
        return MissingSection(title, "config.yaml is missing")
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


def rerun_command(run: Run) -> ReportPart:
    """The command that made the run."""
    title = "Run it again"
    if not (run.path / "launch.sh").exists():
        return MissingSection(title, "launch.sh is missing")
    return Section(title, f"`sh {run.path / 'launch.sh'}` starts this run with the same configuration.")


def embed_figure(figure: "Figure", folder: Path, stem: str, alt: str, pdf: bool = False) -> str:
    """Save a figure as a PNG to look at and perhaps as a PDF for a paper; returns the Markdown that shows it.

    Its file is named by `stem`: `by_level: gsm8k` is `by_level_gsm8k`.
    """
    stem = stem.replace(": ", "_").replace("/", "_")
    figures.save(figure, folder / "figures" / f"{stem}.png")
    if pdf:
        figures.save_pdf(figure, folder / "figures" / f"{stem}.pdf")
    return f"![{alt}](figures/{stem}.png)"


def _fenced(text: str) -> str:
    return f"~~~~~text\n{text}\n~~~~~"
