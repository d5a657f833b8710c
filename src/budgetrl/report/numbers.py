"""How numbers are written: with their error, in the unit that a reader wants; and which of them a table has."""

from collections.abc import Iterable, Sequence

from budgetrl.metrics.definitions import METRICS, POINTS, SHARE, Metric, find
from budgetrl.metrics.estimates import NOISE, Estimate
from budgetrl.metrics.keys import Key, PartKind
from budgetrl.metrics.results import Results

ABSENT = "-"
"""What stands where there is no number."""
_OF_SAMPLES = [metric for metric in METRICS if metric.per_k]
TABLE_METRICS = [metric for metric in METRICS if metric.name and not metric.per_k]
"""What a table may have. All end with pass@k and maj@k."""
SINGLE_EVALUATION_METRICS = [metric for metric in TABLE_METRICS if metric.single]
"""What the table of one evaluation has."""
COMPARISON_METRICS = [metric for metric in TABLE_METRICS if metric.several]
"""What tables of several runs have."""
BEFORE_AFTER_METRICS = [metric for metric in SINGLE_EVALUATION_METRICS if metric.several]


def names(metrics: Iterable[Metric], several: Sequence[Results]) -> dict[Key, str]:
    """Keys and names of those metrics, and of pass@k and maj@k of the largest k, of which any results have a number."""
    most = max((results.largest_k() for results in several), default=1)
    every = {Key(metric.key): metric.name for metric in metrics}
    for metric in _OF_SAMPLES:
        every[Key(metric.key, most)] = metric.name.format(k=most)
    found: dict[Key, str] = {}
    for key, name in every.items():
        if any(results.get(key) for results in several):
            found[key] = name
    return found


def levels_of(several: Iterable[Results]) -> list[int]:
    """The levels that any of these results have numbers of, ascending."""
    levels: set[int] = set()
    for results in several:
        levels.update(results.part_numbers(PartKind.LEVEL))
    return sorted(levels)


def number(metric: str, estimate: Estimate | None, sign: str = "-") -> str:
    """An estimate without its unit; `sign` "+" is that of a difference.

    >>> number("accuracy", Estimate(0.9613, 0.0061)), number("length", Estimate(3.0), "+"), number("length", None)
    ('96.1 ± 0.6', '+3.0', '-')
    >>> number("budget_level_rho", Estimate(-0.001))
    '0.00'
    """
    if estimate is None:
        return ABSENT
    scale, digits, _ = find(metric).kind
    rounded = round(scale * estimate.value, digits) + 0.0  # not -0.0
    value = f"{rounded:{sign}.{digits}f}"
    return value if estimate.shown_error is None else f"{value} ± {scale * estimate.shown_error:.{digits}f}"


def quantity(metric: str, estimate: Estimate | None) -> str:
    """An estimate as a reader wants it: shares in percent, tokens to a tenth, correlations to a hundredth.

    >>> quantity("accuracy", Estimate(0.9613, 0.0061)), quantity("length", Estimate(38.04, 0.42))
    ('96.1 ± 0.6 %', '38.0 ± 0.4')
    >>> quantity("accuracy", Estimate(1.0, 0.0))  # an error of 0 is no certainty
    '100.0 %'
    >>> quantity("budget_level_rho", Estimate(0.887)), quantity("budget", None)
    ('0.89', '-')
    """
    unit = find(metric).kind.unit if estimate else ""
    return f"{number(metric, estimate)}{unit}"


def change(metric: str, estimate: Estimate | None) -> str:
    """A difference of a metric, with its sign; of shares in percentage points.

    >>> change("accuracy", Estimate(0.001, 0.006)), change("length", Estimate(-102.5))
    ('+0.1 ± 0.6 points', '-102.5')
    """
    # 96 % less 95 % is one percentage point, not one percent.
    unit = POINTS.unit if estimate and find(metric).kind == SHARE else ""
    return f"{number(metric, estimate, sign='+')}{unit}"


def interval(metric: str, ends: tuple[float, float] | None, sign: str = "+") -> str:
    """The ends of a difference's 95 % interval, behind the difference; empty where there is none, or all were alike.

    >>> interval("accuracy", (-0.011, 0.013)), interval("compression", (0.5, 0.6), sign="-"), interval("length", None)
    (' (-1.1 to +1.3)', ' (50.0 to 60.0)', '')
    """
    if ends is None or ends[1] - ends[0] < NOISE:
        return ""
    low, high = (number(metric, Estimate(end), sign) for end in ends)
    return f" ({low} to {high})"
