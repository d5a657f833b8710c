"""The metrics of an evaluation: what each is called, in which unit, whether more is better, which tables have it."""

from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """How numbers of a kind are written."""

    scale: int
    digits: int
    unit: str
    """With the blank before it."""


SHARE, POINTS, TOKENS, NUMBER = Kind(100, 1, " %"), Kind(100, 1, " points"), Kind(1, 1, ""), Kind(1, 2, "")


@dataclass(frozen=True)
class Metric:
    """One metric. `docs/evaluation.md` says how each is defined."""

    key: str
    """Its name in keys; of pass@k and maj@k less the k."""
    kind: Kind
    better: int
    """1 where more is better, -1 where less is, 0 where it is to be near something, such as a length."""
    name: str = ""
    """As a reader sees it, `{k}` standing for a number of samples; empty for what no table has."""
    single: bool = True
    """Whether the table of a single evaluation has it."""
    several: bool = True
    """Whether tables of several runs have it."""
    per_k: bool = False
    """Whether there is one for each number k of samples."""


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
    Metric("pass_at", SHARE, 1, "one of {k} samples right", per_k=True),
    Metric("maj_at", SHARE, 1, "majority of {k} samples right", per_k=True),
    Metric("length_change", TOKENS, -1),
    Metric("tokens_per_correct_change", TOKENS, -1),
    Metric("length_budget_rho", NUMBER, 1),
    Metric("thinking_length", TOKENS, -1),
    Metric("verify/unparsed", SHARE, -1),
    Metric("verify/timeouts", SHARE, -1),
    Metric("reward", NUMBER, 1),  # of the evaluations that GRPO makes on its way
    Metric("kept", SHARE, 1),  # of the cold start and the labels, put in words
    Metric("finite", SHARE, 1),
    Metric("b_max", TOKENS, 0),
)
"""In the order of tables, which all end with pass@k and maj@k."""

_BY_KEY = {metric.key: metric for metric in METRICS}


def find(key: str) -> Metric:
    """The metric of that key. KeyError for what evaluations do not write.

    >>> find("pass_at").better, find("length").better, find("budget").better
    (1, -1, 0)
    """
    return _BY_KEY[key]


def is_metric(key: str) -> bool:
    """Whether evaluations write a metric of that key."""
    return key in _BY_KEY
