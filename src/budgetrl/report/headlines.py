"""What came out of a run, in one sentence."""

from collections.abc import Iterator, Sequence

from budgetrl.metrics.estimates import Estimate
from budgetrl.report.numbers import quantity
from budgetrl.report.reading import PIPELINE, Run
from budgetrl.runs.folder import Row
from budgetrl.runs.parts import INITIAL, TRAINED

ENDS = 10
"""Most training steps averaged at either end, where a run's start and end are put in words: the ends never overlap."""

WELL_FORMED = 0.95
"""A share below which a headline has to speak of it."""


def headline(run: Run) -> str:
    """What came out of a run: a sentence for each data set, or one over its training; empty where there is nothing."""
    if run.stage == PIPELINE:
        return " ".join(_pipeline_headlines(run))
    if run.stage == "evaluate":
        return " ".join(_evaluation_headline(run, dataset) for dataset in run.datasets())
    return _training_headline(run)


def _pipeline_headlines(run: Run) -> Iterator[str]:
    """A sentence for each data set: how much shorter, at which accuracy."""
    datasets = run.datasets()
    for dataset in datasets:
        initial, trained, changes = (run.result.of(dataset, which) for which in (INITIAL, TRAINED, ""))
        before, after, accuracy = initial.get("length"), trained.get("length"), trained.get("accuracy")
        if before is None or after is None or accuracy is None:
            continue
        shorter = _percentage(changes.get("compression"), "shorter", "longer")
        better = _points(changes.get("accuracy_change"))
        where = f"{dataset}: " if len(datasets) > 1 else ""
        right = f"{100 * accuracy.value:.1f} % accuracy{better}"
        formed, lost = trained.get("format"), ""
        if formed is not None and formed.value < WELL_FORMED:
            lost = f", but only {100 * formed.value:.1f} % well formed"
        yield f"{where}{after.value:.0f} tokens instead of {before.value:.0f}{shorter} at {right}{lost}."


def _percentage(estimate: Estimate | None, less: str, more: str) -> str:
    if estimate is None:
        return ""
    word = less if estimate.value >= 0 else more
    return f" ({abs(100 * estimate.value):.0f} % {word}{_se(estimate)})"


def _points(estimate: Estimate | None) -> str:
    return "" if estimate is None else f" ({100 * estimate.value:+.1f} points{_se(estimate)})"


def _se(estimate: Estimate) -> str:
    return "" if estimate.shown_error is None else f", SE {100 * estimate.shown_error:.1f}"


def _evaluation_headline(run: Run, dataset: str) -> str:
    results = run.result.of(dataset)
    accuracy = quantity("accuracy", results.get("accuracy"))
    return f"{dataset}: {accuracy} right, in {quantity('length', results.get('length'))} tokens."


def _training_headline(run: Run) -> str:
    """From the first steps to the last, in words."""
    rows = run.metrics
    ends = min(ENDS, len(rows) // 2)
    first, last = rows[:ends], rows[len(rows) - ends :]
    changes = []
    for key, name, scale, digits, unit in _HEADLINE_METRICS:
        before, after = _at(first, key, scale, digits), _at(last, key, scale, digits)
        if before and after:
            changes.append(f"{name} from {before} to {after}{unit}")
    if not changes:
        return ""
    basis = f"means of the first and last {ends} steps" if ends > 1 else "the first and the last step"
    return f"In {rows[-1]['step']} steps: {', '.join(changes)} ({basis})."


_HEADLINE_METRICS = (
    ("accuracy", "accuracy", 100, 1, " %"),
    ("length", "length", 1, 0, " tokens"),
    ("budget", "budget", 1, 0, " tokens"),
)
"""Metric, its name, factor, decimals, unit. A run without any of them has only a loss: no headline."""


def _at(rows: Sequence[Row], key: str, scale: float, digits: int) -> str:
    """The mean of a metric over some steps; empty where it was not logged."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return ""
    return f"{scale * sum(values) / len(values):.{digits}f}"
