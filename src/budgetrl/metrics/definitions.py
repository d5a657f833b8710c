"""The metrics of an evaluation: name, unit, direction, and the tables they appear in."""

from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """How numbers of one kind are displayed."""

    scale: int
    """Factor applied before display; 100 for percentages."""
    digits: int
    """Digits after the decimal point."""
    unit: str
    """The unit, including the space before it."""


SHARE = Kind(100, 1, " %")
POINTS = Kind(100, 1, " points")
"""Differences of shares, in percentage points."""
TOKENS = Kind(1, 1, "")
NUMBER = Kind(1, 2, "")
"""Other numbers, such as correlations and ratios."""


@dataclass(frozen=True)
class Metric:
    """One metric. See `docs/evaluation.md` for the definitions."""

    key: str
    """Its name in result keys; without the k for pass@k and maj@k."""
    kind: Kind
    better: int
    """1 if higher is better, -1 if lower is better, 0 if neither (such as a budget)."""
    name: str = ""
    """Name in tables; `{k}` is replaced with the number of samples. Empty if the metric is not in any table."""
    single: bool = True
    """Whether it is in the table of a single evaluation."""
    several: bool = True
    """Whether it is in tables of several runs."""
    per_k: bool = False
    """Whether there is a value for each number k of samples."""


METRICS = (
    Metric("accuracy", SHARE, 1, "accuracy"),
    Metric("accuracy_change", POINTS, 1, "accuracy change", single=False),
    Metric("length", TOKENS, -1, "length, tokens"),
    Metric("compression", SHARE, 1, "length reduction", single=False),
    Metric("budget", TOKENS, 0, "budget, tokens"),
    Metric("match_50", SHARE, 1, "length within 50 % of budget"),
    Metric("match_25", SHARE, 1, "length within 25 % of budget"),
    Metric("match_10", SHARE, 1, "length within 10 % of budget"),
    Metric("budget_level_rho", NUMBER, 1, "rank correlation of budget and level"),
    Metric("format", SHARE, 1, "well formed"),
    Metric("truncated", SHARE, -1, "truncated at the token limit"),
    Metric("length_budget_slope", NUMBER, 0, "slope of length against budget", single=False),
    Metric("tokens_per_correct", TOKENS, -1, "tokens per correct answer"),
    Metric("tokens_spent", TOKENS, -1, "tokens spent per response", several=False),
    Metric("budget_use", NUMBER, 0, "length / budget, mean", several=False),
    Metric("budget_use_sd", NUMBER, -1, "length / budget, standard deviation", several=False),
    Metric("tokens_beyond_budget", SHARE, -1, "share of tokens beyond the budget", several=False),
    Metric("accuracy_beyond_budget", SHARE, -1, "correct, but longer than the budget", several=False),
    Metric("budget_area", SHARE, 1, "area under accuracy, given budgets", several=False),
    Metric("cutoff_area", SHARE, 1, "area under accuracy, cutoffs", several=False),
    Metric("pass_at", SHARE, 1, "pass@{k}", per_k=True),
    Metric("maj_at", SHARE, 1, "maj@{k}", per_k=True),
    # Not in tables.
    Metric("tokens_read", TOKENS, -1),
    Metric("length_change", TOKENS, -1),
    Metric("tokens_per_correct_change", TOKENS, -1),
    Metric("length_budget_rho", NUMBER, 1),
    Metric("thinking_length", TOKENS, -1),
    Metric("verify/unparsed", SHARE, -1),
    Metric("verify/timeouts", SHARE, -1),
    Metric("reward", NUMBER, 1),  # in the evaluations during GRPO training
    # Results of the cold start (kept) and of labeling (finite, b_max), mentioned in the report's text.
    Metric("kept", SHARE, 1),
    Metric("finite", SHARE, 1),
    Metric("b_max", TOKENS, 0),
)
"""All metrics, in the order of table columns. pass@k and maj@k come last in every table."""

_BY_KEY = {metric.key: metric for metric in METRICS}


def find(key: str) -> Metric:
    """Return the metric with this key. Raises KeyError if there is none.

    >>> find("pass_at").better, find("length").better, find("budget").better
    (1, -1, 0)
    """
    return _BY_KEY[key]


def is_metric(key: str) -> bool:
    """Return whether there is a metric with this key."""
    return key in _BY_KEY
