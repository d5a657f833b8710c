"""The metrics: what each is called, how it is written, whether more is better, and which tables have it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from budgetrl.report.reading import NOISE, Estimate, Results

ABSENT = "-"


class Kind(NamedTuple):
    """How numbers of a kind are written."""

    scale: int
    digits: int
    unit: str
    """With the blank before it."""


SHARE, POINTS, TOKENS, NUMBER = Kind(100, 1, " %"), Kind(100, 1, " points"), Kind(1, 1, ""), Kind(1, 2, "")


@dataclass(frozen=True)
class Metric:
    """One key of a result."""

    key: str
    """Less the k of pass@k and maj@k."""
    kind: Kind
    better: int
    """1 where more is better, -1 where less is, 0 where it is to be near something, such as a length."""
    name: str = ""
    """As a reader sees it; empty for what no table has."""
    single: bool = True
    """Whether the table of a single evaluation has it."""
    several: bool = True
    """Whether tables of several runs have it."""


METRICS = (
    Metric("accuracy", SHARE, 1, "accuracy"),
    Metric("accuracy_change", POINTS, 1, "accuracy gained", single=False),
    Metric("length", TOKENS, -1, "length, tokens"),
    Metric("compression", SHARE, 1, "shorter by", single=False),
    Metric("budget", TOKENS, 0, "budget, tokens"),
    Metric("match_50", SHARE, 1, "length within 50 % of budget"),
    Metric("match_25", SHARE, 1, "length within 25 % of budget"),
    Metric("match_10", SHARE, 1, "length within 10 % of budget"),
    Metric("budget_level_rho", NUMBER, 1, "rank correlation of budget and level"),
    Metric("format", SHARE, 1, "well formed"),
    Metric("truncated", SHARE, -1, "cut off at the token limit"),
    Metric("length_budget_slope", NUMBER, 0, "slope of length over budget", single=False),
    Metric("tokens_per_correct", TOKENS, -1, "tokens for a right answer"),
    Metric("budget_use", NUMBER, 0, "length over budget, mean", several=False),
    Metric("budget_use_sd", NUMBER, -1, "length over budget, standard deviation", several=False),
    Metric("tokens_beyond_budget", SHARE, -1, "tokens beyond the budget, of all", several=False),
    Metric("accuracy_beyond_budget", SHARE, -1, "right, but beyond the budget", several=False),
    Metric("budget_area", SHARE, 1, "accuracy over the lengths of given budgets", several=False),
    Metric("cutoff_area", SHARE, 1, "accuracy over the cut-offs", several=False),
    Metric("pass_at", SHARE, 1, "one of {k} samples right"),
    Metric("maj_at", SHARE, 1, "majority of {k} samples right"),
    Metric("length_change", TOKENS, -1),
    Metric("tokens_per_correct_change", TOKENS, -1),
    Metric("length_budget_rho", NUMBER, 1),
    Metric("thinking_length", TOKENS, -1),
    Metric("verify/unparsed", SHARE, -1),
    Metric("verify/timeouts", SHARE, -1),
    Metric("kept", SHARE, 1),  # of the stages before, put in words
    Metric("finite", SHARE, 1),
    Metric("b_max", TOKENS, 0),
)
"""In the order of tables, which all end with pass@k and maj@k."""
_OF_SAMPLES = [metric for metric in METRICS if "{k}" in metric.name]
EITHER = [metric for metric in METRICS if metric.name and metric not in _OF_SAMPLES]
SINGLE = [metric for metric in EITHER if metric.single]
SEVERAL = [metric for metric in EITHER if metric.several]
BOTH = [metric for metric in SINGLE if metric.several]
_BY_KEY = {metric.key: metric for metric in METRICS}
_PART = re.compile(r"(?:level|budget|cutoff)_\d+/")
_OF_K = re.compile(r"(?<=_at)_\d+$")


def find(key: str) -> Metric:
    """The metric of a key. KeyError for what evaluations do not write.

    >>> find("pass_at_4").better, find("level_3/length").better, find("budget").better
    (1, -1, 0)
    """
    return _BY_KEY[_OF_K.sub("", _PART.sub("", key))]


def names(metrics: Iterable[Metric], several: Sequence[Results]) -> dict[str, str]:
    """Keys and names of those metrics, and of pass@k and maj@k of the largest k, of which any results have a number."""
    most = max((results.samples() for results in several), default=1)
    every = {metric.key: metric.name for metric in metrics}
    every |= {f"{metric.key}_{most}": metric.name.format(k=most) for metric in _OF_SAMPLES}
    return {key: name for key, name in every.items() if any(results.get(key) for results in several)}


def number(key: str, estimate: Estimate | None, sign: str = "-") -> str:
    """An estimate without its unit; `sign` "+" is that of a difference.

    >>> number("accuracy", Estimate(0.9613, 0.0061)), number("length", Estimate(3.0), "+"), number("length", None)
    ('96.1 ± 0.6', '+3.0', '-')
    >>> number("budget_level_rho", Estimate(-0.001))
    '0.00'
    """
    if estimate is None:
        return ABSENT
    scale, digits, _ = find(key).kind
    rounded = round(scale * estimate.value, digits) + 0.0  # not -0.0
    value = f"{rounded:{sign}.{digits}f}"
    return value if estimate.stated is None else f"{value} ± {scale * estimate.stated:.{digits}f}"


def quantity(key: str, estimate: Estimate | None) -> str:
    """An estimate as a reader wants it: shares in percent, tokens to a tenth, correlations to a hundredth.

    >>> quantity("accuracy", Estimate(0.9613, 0.0061)), quantity("length", Estimate(38.04, 0.42))
    ('96.1 ± 0.6 %', '38.0 ± 0.4')
    >>> quantity("accuracy", Estimate(1.0, 0.0))  # an error of 0 is no certainty
    '100.0 %'
    >>> quantity("budget_level_rho", Estimate(0.887)), quantity("budget", None)
    ('0.89', '-')
    """
    return f"{number(key, estimate)}{find(key).kind.unit if estimate else ''}"


def change(key: str, estimate: Estimate | None) -> str:
    """A difference of a metric, with its sign; of shares in percentage points.

    >>> change("accuracy", Estimate(0.001, 0.006)), change("length", Estimate(-102.5))
    ('+0.1 ± 0.6 points', '-102.5')
    """
    return f"{number(key, estimate, sign='+')}{POINTS.unit if estimate and find(key).kind == SHARE else ''}"


def interval(key: str, ends: tuple[float, float] | None, sign: str = "+") -> str:
    """The ends of a difference's 95 % interval, behind the difference; empty where there is none, or all were alike.

    >>> interval("accuracy", (-0.011, 0.013)), interval("compression", (0.5, 0.6), sign="-"), interval("length", None)
    (' (-1.1 to +1.3)', ' (50.0 to 60.0)', '')
    """
    if ends is None or ends[1] - ends[0] < NOISE:
        return ""
    low, high = (number(key, Estimate(end), sign) for end in ends)
    return f" ({low} to {high})"
