"""How tables write numbers (unit, digits, standard error), and which metrics each kind of table has."""

from collections.abc import Iterable, Sequence

from budgetrl.metrics.definitions import METRICS, POINTS, SHARE, Metric, find
from budgetrl.metrics.estimates import NOISE, Estimate
from budgetrl.metrics.keys import Key, PartKind
from budgetrl.metrics.results import Results

ABSENT = "-"
"""Written where there is no number."""
_SAMPLE_METRICS = [metric for metric in METRICS if metric.per_k]
"""pass@k and maj@k, which every table has at its end."""
TABLE_METRICS = [metric for metric in METRICS if metric.name and not metric.per_k]
"""Metrics that some table has, pass@k and maj@k aside."""
SINGLE_EVALUATION_METRICS = [metric for metric in TABLE_METRICS if metric.single]
"""Metrics in the table of one evaluation."""
COMPARISON_METRICS = [metric for metric in TABLE_METRICS if metric.several]
"""Metrics in tables of several runs."""
BEFORE_AFTER_METRICS = [metric for metric in SINGLE_EVALUATION_METRICS if metric.several]
"""Metrics in the table of the initial and the trained model."""


def names(metrics: Iterable[Metric], several: Sequence[Results]) -> dict[Key, str]:
    """Return the display names, by key, of those `metrics` for which any of the results has a number.

    pass@k and maj@k are added for the largest k in the results.
    """
    most_samples = max((results.largest_k() for results in several), default=1)
    candidates = {Key(metric.key): metric.name for metric in metrics}
    for metric in _SAMPLE_METRICS:
        candidates[Key(metric.key, most_samples)] = metric.name.format(k=most_samples)
    found: dict[Key, str] = {}
    for key, name in candidates.items():
        if any(results.get(key) for results in several):
            found[key] = name
    return found


def levels_of(several: Iterable[Results]) -> list[int]:
    """Return the difficulty levels for which any of the results has numbers, in ascending order."""
    levels: set[int] = set()
    for results in several:
        levels.update(results.part_numbers(PartKind.LEVEL))
    return sorted(levels)


def number(metric: str, estimate: Estimate | None, sign: str = "-") -> str:
    """Format an estimate without its unit. `sign` is "+" for differences, which show a plus sign too.

    >>> number("accuracy", Estimate(0.9613, 0.0061)), number("length", Estimate(3.0), "+"), number("length", None)
    ('96.1 ± 0.6', '+3.0', '-')
    >>> number("budget_level_rho", Estimate(-0.001))
    '0.00'
    """
    if estimate is None:
        return ABSENT
    scale, digits, _ = find(metric).kind
    rounded = round(scale * estimate.value, digits) + 0.0  # adding 0.0 turns -0.0 into 0.0
    value = f"{rounded:{sign}.{digits}f}"
    return value if estimate.shown_error is None else f"{value} ± {scale * estimate.shown_error:.{digits}f}"


def quantity(metric: str, estimate: Estimate | None) -> str:
    """Format an estimate with its unit: shares in percent, tokens to a tenth, correlations to a hundredth.

    >>> quantity("accuracy", Estimate(0.9613, 0.0061)), quantity("length", Estimate(38.04, 0.42))
    ('96.1 ± 0.6 %', '38.0 ± 0.4')
    >>> quantity("accuracy", Estimate(1.0, 0.0))  # an error of 0 only means that all values are equal
    '100.0 %'
    >>> quantity("budget_level_rho", Estimate(0.887)), quantity("budget", None)
    ('0.89', '-')
    """
    unit = find(metric).kind.unit if estimate else ""
    return f"{number(metric, estimate)}{unit}"


def change(metric: str, estimate: Estimate | None) -> str:
    """Format a difference of a metric with its sign; differences of shares are in percentage points.

    >>> change("accuracy", Estimate(0.001, 0.006)), change("length", Estimate(-102.5))
    ('+0.1 ± 0.6 points', '-102.5')
    """
    # 96 % less 95 % is one percentage point, not one percent.
    unit = POINTS.unit if estimate and find(metric).kind == SHARE else ""
    return f"{number(metric, estimate, sign='+')}{unit}"


def interval(metric: str, ends: tuple[float, float] | None, sign: str = "+") -> str:
    """Format the 95 % interval that follows a difference. Empty if there is none, or if it has no width.

    >>> interval("accuracy", (-0.011, 0.013)), interval("compression", (0.5, 0.6), sign="-"), interval("length", None)
    (' (-1.1 to +1.3)', ' (50.0 to 60.0)', '')
    """
    if ends is None or ends[1] - ends[0] < NOISE:
        return ""
    low = number(metric, Estimate(ends[0]), sign)
    high = number(metric, Estimate(ends[1]), sign)
    return f" ({low} to {high})"
