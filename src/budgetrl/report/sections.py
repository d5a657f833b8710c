"""The sections of a report, one function each. A section without data is a `MissingSection` with the reason."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetrl.metrics.keys import PartKind
from budgetrl.metrics.results import Results
from budgetrl.report import figures, tables
from budgetrl.report.numbers import quantity
from budgetrl.report.reading import PIPELINE, Run, read_run
from budgetrl.runs.folder import Row
from budgetrl.runs.parts import COLD_START, INITIAL, LABEL, TRAINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXCERPT_HEAD, EXCERPT_TAIL = 420, 180
"""Characters shown from the start and the end of a long completion."""
EXCERPT_WIDTH = 100
"""Characters per line of an excerpt."""
SETTINGS = ("seed", "model", "dataset", "stage", "reward", "algorithm", "objective", "decoding", "rollout", "zero")
"""Groups of the configuration shown in a report: those that affect the results or the speed."""
UNUSED = {
    "pretrain": ("reward", "algorithm"),
    "cold_start": ("algorithm",),
    "grpo": ("objective",),
    "evaluate": ("algorithm", "objective", "zero"),
    "regrade": ("algorithm", "objective", "decoding", "rollout", "zero"),
    "label": ("algorithm", "objective", "zero"),
}
"""Groups that a stage does not use, although every configuration has them. A report leaves them out."""

ERRORS = (
    "± is one standard error, with all samples of a problem counted as one observation. "
    "It is omitted if all completions have the same value."
)


@dataclass(frozen=True)
class Section:
    """A heading and the Markdown below it."""

    title: str
    body: str


@dataclass(frozen=True)
class MissingSection:
    """A section that could not be written, and why."""

    title: str
    reason: str


ReportPart = Section | MissingSection


def before_after(run: Run, trained: Run, dataset: str, models: Mapping[str, Results]) -> str:
    """Return the table that compares the initial and the trained model on one data set."""
    table = tables.before_after(models[INITIAL], models[TRAINED], run.result.of(dataset))
    return f"{table}\n\n{_sample_size(trained.free(dataset))}"


def evaluation(run: Run) -> str:
    """Return the table of an evaluation, with a column for each data set."""
    table = tables.evaluation(run.results_by_dataset())
    rows: list[Row] = []
    for dataset in run.datasets():
        rows += run.free(dataset)
    return f"{table}\n\n{_sample_size(rows)}"


def changes_from_earlier(run: Run) -> Iterator[Section]:
    """Yield the changes from the evaluation named by `stage.against`, if there is one."""
    if earlier := run.config.get("stage", {}).get("against"):
        table = tables.gains(run.results_by_dataset())
        body = f"{table}\n\nCompared with `{earlier}`, paired by problem."
        yield Section("Changes from the earlier evaluation", body)


def _sample_size(rows: Sequence[Row]) -> str:
    """Return what the errors mean, and on how many completions the numbers are based."""
    if not rows:
        return ERRORS
    problems = len({row["problem_id"] for row in rows})
    return f"{ERRORS} Based on {len(rows):,} completions of {problems:,} problems."


def level_results(run: Run, models: Mapping[str, Results], suffix: str) -> ReportPart:
    """Return the figure and table by difficulty level of one data set.

    `suffix` names the data set in the title and the figure's file name; it is empty if there is only one.
    """
    title = f"Results by difficulty level{suffix}"
    figure = figures.by_level(models)
    if figure is None:
        return MissingSection(title, "the problems have no levels")
    image = embed_figure(figure, run.out, f"by_level{suffix}", "Accuracy, length and budget by difficulty level")
    return Section(title, f"{image}\n\n{tables.by_level(models)}")


def budget_figures(run: Run, evaluated: Run, dataset: str, suffix: str) -> Iterator[ReportPart]:
    """Yield how well the model keeps its own budgets, and how well given budgets control its length.

    Completions are those of `evaluated`; figures are written to the folder of `run`.
    """
    title = f"Budget adherence{suffix}"
    figure = figures.budget_against_length(evaluated.free(dataset))
    if figure is None:
        yield MissingSection(title, "no completion has a budget of its own")
    else:
        image = embed_figure(figure, run.out, f"budget_length{suffix}", "Length against budget")
        yield Section(title, f"{image}\n\n{_ADHERENCE_CAPTION}")
    title = f"Length control with given budgets{suffix}"
    figure = figures.length_control(evaluated.controlled(dataset))
    if figure is None:
        yield MissingSection(title, "no completion began with a given budget")
    else:
        image = embed_figure(figure, run.out, f"length_control{suffix}", "Mean length against the given budget")
        yield Section(title, f"{image}\n\n{_CONTROL_CAPTION}")


_ADHERENCE_CAPTION = (
    "Color shows the number of completions in each cell. On the dashed line, the length equals the budget."
)
_CONTROL_CAPTION = (
    "Responses start with a given budget. On the dashed line, the mean length equals that budget. "
    "A curve is flat where the model does not write shorter or longer answers."
)


def token_limits(run: Run, models: Mapping[str, Results], suffix: str) -> Iterator[ReportPart]:
    """Yield the accuracy of one data set under hard cutoffs and given budgets, if any model has numbers for cutoffs."""
    with_cutoffs: dict[str, Results] = {}
    for model, results in models.items():
        if results.part_numbers(PartKind.CUTOFF):
            with_cutoffs[model] = results
    figure = figures.accuracy_against_limit(models) if with_cutoffs else None
    if figure is None:
        return
    alt = "Accuracy against cutoffs and given budgets"
    blocks = [embed_figure(figure, run.out, f"cut_off{suffix}", alt), _LIMITS_CAPTION]
    for model, results in with_cutoffs.items():
        if model:
            blocks.append(f"{model.capitalize()} model:")
        blocks.append(tables.cutoffs(results))
    yield Section(f"Accuracy under token limits{suffix}", "\n\n".join(blocks))


_LIMITS_CAPTION = (
    "A completion counts as correct at a cutoff if it is correct and ends within that many tokens. "
    "The right panel compares accuracy at equal cost: a completion that is cut off costs the tokens up to the cutoff."
)


def training_curves(run: Run, trained: Run) -> ReportPart:
    """Return the training curves of `trained`; the figure is written to the folder of `run`."""
    title = "Training curves"
    figure = figures.training_curves(trained.metrics)
    if figure is None:
        return MissingSection(title, f"{trained.path / 'metrics.jsonl'} is missing or has no metric to plot")
    image = embed_figure(figure, run.out, "training", "Training curves")
    return Section(title, f"{image}\n\nThin lines show each step, bold lines the running mean.")


def late_budget_adherence(run: Run) -> ReportPart:
    """Return budgets against lengths for the last fifth of the completions sampled in training."""
    title = "Budget adherence late in training"
    last_fifth = run.completions[-len(run.completions) // 5 :]
    figure = figures.budget_against_length(last_fifth)
    if figure is None:
        return MissingSection(title, "completions.jsonl is missing or has no budgets")
    image = embed_figure(figure, run.out, "budget_length", "Length against budget")
    return Section(title, f"{image}\n\n{_ADHERENCE_CAPTION}")


def intermediate_stages(run: Run) -> ReportPart:
    """Return the results of a pipeline's cold start and labeling in words."""
    title = "Cold start and labeling"
    sentences: list[str] = []
    for part, templates in _INTERMEDIATE_STAGES.items():
        results = read_run(run.path / part).result
        for metric, template in templates.items():
            estimate = results.get(metric)
            if estimate:
                sentences.append(template.format(quantity(metric, estimate)))
    if not sentences:
        return MissingSection(title, "cold_start/ and label/ have no results")
    return Section(title, " ".join(sentences))


_INTERMEDIATE_STAGES = {
    COLD_START: {
        "kept": "The cold start was trained on {} of the initial model's completions, all of them correct.",
        "format": "After it, {} of the completions were well formed.",
        "match_50": "The length was within 50 % of the budget in {} of them.",
    },
    LABEL: {
        "finite": "A reference length is known for {} of the training problems.",
        "b_max": "The mean reference length is {} tokens.",
    },
}
"""Sentences about a pipeline's parts, by metric."""


def example(initial: Run, trained: Run) -> ReportPart:
    """Return a problem that both models answered correctly, with the median ratio of trained to initial length."""
    title = "Example"
    before, after = _correct_by_problem(initial), _correct_by_problem(trained)
    ratios: list[tuple[float, tuple[str, str]]] = []
    for problem in before.keys() & after.keys():
        ratio = after[problem]["length"] / max(1, before[problem]["length"])
        ratios.append((ratio, problem))
    if not ratios:
        return MissingSection(title, "no problem was answered correctly both before and after training")
    ratios.sort()  # the problem breaks ties, so that the choice does not depend on the order of a set
    _, median_problem = ratios[len(ratios) // 2]
    return Section(title, _side_by_side(before[median_problem], after[median_problem]))


def _correct_by_problem(run: Run) -> dict[tuple[str, str], Row]:
    """Return one correct completion without a pre-filled budget, by data set and problem id."""
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
            f"Problem{level}, gold answer {before['answer']}:",
            _fenced(_excerpt(before["problem"])),
            f"Initial model, {before['length']} tokens:",
            _fenced(_excerpt(before["text"])),
            f"Trained model, {after['length']} tokens{budget}:",
            _fenced(_excerpt(after["text"])),
        ]
    )


def _excerpt(text: str) -> str:
    """Return the beginning and the end of a text, wrapped to the width of a page."""
    if len(text) > EXCERPT_HEAD + EXCERPT_TAIL:
        omitted = len(text) - EXCERPT_HEAD - EXCERPT_TAIL
        text = f"{text[:EXCERPT_HEAD]}\n[... {omitted:,} characters ...]\n{text[-EXCERPT_TAIL:]}"
    lines: list[str] = []
    for line in text.strip().splitlines():
        lines += textwrap.wrap(line, EXCERPT_WIDTH) or [""]  # wrap() drops an empty line
    return "\n".join(lines)


def settings(run: Run) -> ReportPart:
    """Return a table of the configuration with a row for each group."""
    title = "Settings"
    rows: list[list[str]] = []
    unused = UNUSED.get(run.stage, ())
    if run.stage == PIPELINE and not (run.path / COLD_START).exists():  # GRPO does not use the objective
        unused = ("objective",)
    for group in SETTINGS:
        if group in run.config and group not in unused:
            rows += _setting_rows(group, run.config[group])
    if not rows:
        return MissingSection(title, "config.yaml is missing")
    return Section(title, tables.markdown(["group", "values"], rows, numbers=False))


def _setting_rows(group: str, value: Any) -> Iterator[list[str]]:
    """Yield a row for a group, then one for each group inside it. Null and empty values are left out."""
    if not isinstance(value, Mapping):
        yield [f"`{group}`", str(value)]
        return
    values: list[str] = []
    subgroups: dict[str, Mapping[str, Any]] = {}
    for key, item in value.items():
        if item in (None, "", [], {}):
            continue
        if isinstance(item, Mapping):
            subgroups[key] = item
        else:
            values.append(f"{key} {item}")
    yield [f"`{group}`", ", ".join(values)]
    for key, subgroup in subgroups.items():
        yield from _setting_rows(f"{group}.{key}", subgroup)


def rerun_command(run: Run) -> ReportPart:
    """Return the command that runs the same configuration again."""
    title = "Reproduce this run"
    if not (run.path / "launch.sh").exists():
        return MissingSection(title, "launch.sh is missing")
    return Section(title, f"`sh {run.path / 'launch.sh'}` runs the same configuration again.")


def embed_figure(figure: "Figure", folder: Path, stem: str, alt: str, pdf: bool = False) -> str:
    """Save a figure as a PNG, and as a PDF for papers if `pdf`; return the Markdown that shows it.

    The file name is made from `stem`: "by_level: gsm8k" becomes "by_level_gsm8k".
    """
    stem = stem.replace(": ", "_").replace("/", "_")
    figures.save(figure, folder / "figures" / f"{stem}.png")
    if pdf:
        figures.save_pdf(figure, folder / "figures" / f"{stem}.pdf")
    return f"![{alt}](figures/{stem}.png)"


def _fenced(text: str) -> str:
    # Tildes, since completions often contain backtick fences.
    return f"~~~~~text\n{text}\n~~~~~"
