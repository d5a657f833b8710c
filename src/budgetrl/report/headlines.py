"""The headline of a report: the main result of a run in one sentence per data set."""

from collections.abc import Iterator, Sequence

from budgetrl.metrics.estimates import Estimate
from budgetrl.report.numbers import quantity
from budgetrl.report.reading import PIPELINE, Run
from budgetrl.runs.folder import Row
from budgetrl.runs.parts import INITIAL, TRAINED

MAX_END_STEPS = 10
"""Maximum number of training steps averaged at the start and at the end of a run."""

MIN_WELL_FORMED = 0.95
"""A pipeline's headline mentions the share of well-formed responses if it is below this."""


def headline(run: Run) -> str:
    """Return the main result of a run in words; empty if there is none.

    A pipeline or an evaluation has a sentence for each data set, any other run one about its training.
    """
    if run.stage == PIPELINE:
        return " ".join(_pipeline_headlines(run))
    if run.stage == "evaluate":
        return " ".join(_evaluation_headlines(run))
    return _training_headline(run)


def _pipeline_headlines(run: Run) -> Iterator[str]:
    """Yield a sentence for each data set: how much shorter the answers became, and at what accuracy."""
    datasets = run.datasets()
    for dataset in datasets:
        initial = run.result.of(dataset, INITIAL)
        trained = run.result.of(dataset, TRAINED)
        changes = run.result.of(dataset)
        before, after, accuracy = initial.get("length"), trained.get("length"), trained.get("accuracy")
        if before is None or after is None or accuracy is None:
            continue
        where = f"{dataset}: " if len(datasets) > 1 else ""
        length = f"{after.value:.0f} tokens instead of {before.value:.0f}{_compression(changes.get('compression'))}"
        right = f"{100 * accuracy.value:.1f} % accuracy{_accuracy_change(changes.get('accuracy_change'))}"
        # Shorter answers are no gain if they lost the format, so the headline must mention it.
        well_formed, caveat = trained.get("format"), ""
        if well_formed is not None and well_formed.value < MIN_WELL_FORMED:
            caveat = f", but only {100 * well_formed.value:.1f} % well formed"
        yield f"{where}{length} at {right}{caveat}."


def _compression(estimate: Estimate | None) -> str:
    """Return the change of length in parentheses, such as " (72 % shorter, SE 0.4)"; empty if not known."""
    if estimate is None:
        return ""
    word = "shorter" if estimate.value >= 0 else "longer"
    return f" ({abs(100 * estimate.value):.0f} % {word}{_standard_error(estimate)})"


def _accuracy_change(estimate: Estimate | None) -> str:
    """Return the change of accuracy in parentheses, such as " (-0.4 points, SE 0.6)"; empty if not known."""
    return "" if estimate is None else f" ({100 * estimate.value:+.1f} points{_standard_error(estimate)})"


def _standard_error(estimate: Estimate) -> str:
    return "" if estimate.shown_error is None else f", SE {100 * estimate.shown_error:.1f}"


def _evaluation_headlines(run: Run) -> Iterator[str]:
    for dataset, results in run.results_by_dataset().items():
        accuracy = quantity("accuracy", results.get("accuracy"))
        length = quantity("length", results.get("length"))
        yield f"{dataset}: accuracy {accuracy}, mean length {length} tokens."


def _training_headline(run: Run) -> str:
    """Return how accuracy, length and budget changed from the first training steps to the last."""
    rows = run.metrics
    # At most half of the steps, so that start and end never overlap.
    count = min(MAX_END_STEPS, len(rows) // 2)
    first, last = rows[:count], rows[len(rows) - count :]
    changes = []
    for key, scale, digits, unit in _TRAINING_METRICS:
        before = _mean_text(first, key, scale, digits)
        after = _mean_text(last, key, scale, digits)
        if before and after:
            changes.append(f"{key} from {before} to {after}{unit}")
    if not changes:
        return ""
    basis = f"means of the first and last {count} steps" if count > 1 else "the first and the last step"
    return f"In {rows[-1]['step']} steps: {', '.join(changes)} ({basis})."


_TRAINING_METRICS = (
    ("accuracy", 100, 1, " %"),
    ("length", 1, 0, " tokens"),
    ("budget", 1, 0, " tokens"),
)
"""Metric, factor, decimals and unit. A run that logs none of these, such as supervised training, has no headline."""


def _mean_text(rows: Sequence[Row], key: str, scale: float, digits: int) -> str:
    """Return the mean of a metric over some steps, formatted; empty if it was not logged."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return ""
    return f"{scale * sum(values) / len(values):.{digits}f}"
