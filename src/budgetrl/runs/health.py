"""Warnings about training problems: how each shows in the metrics, and what to do about it.

Every check uses only the rows of `metrics.jsonl`. After a resume, a new monitor that observes the existing rows
is in the same state as the old one. A warning appears once when a problem starts, and again only if the problem
went away in between.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

START_ROWS = 5
"""Number of first rows whose mean serves as the start value of a metric. A single row is too noisy."""
EQUAL_GROUPS = 0.95
"""Share of groups with equal rewards. Above it, nearly the whole batch has advantage 0."""
TRUNCATED = 0.9
"""Share of truncated completions. Above it, hardly any answer is complete, so hardly any can be correct."""
FORMAT = 0.5
"""Share of well-formed completions. A cold-started model reaches 85 % or more, so at half it has lost the format."""
BUDGET_ENTROPY = 0.5
"""Nats. Below it, about 1.6 (e^0.5) budgets remain to choose from. A good final policy can be that certain too, so
low entropy counts as a problem only if budgets also do not follow the problem's level."""
BUDGET_LEVEL_RHO = 0.3
"""Rank correlation of budget and level. On the mini benchmark, collapsed runs were below it and adaptive runs
above 0.8."""
BUDGET_ENTROPY_GONE = 0.01
"""Nats. The threshold for problems without levels: below it, the model always writes the same budget."""
BUDGET_OVER_LENGTH = 2.0
"""Ratio of budget to length. Above it, budgets miss even the 50 % match and tell the user nothing."""
BUDGET_GROWTH = 2.0
"""Ratio of budget to its start value. Budgets should shrink or stay the same during training."""
KL = 0.5
"""Nats per token. Ordinary runs stay below 0.1; at 0.5 the policy has little in common with its reference."""
ENTROPY_LEFT = 0.05
"""Share of the start value. Relative, because normal entropies differ by a factor of ten between models."""
TIMEOUTS = 0.05
"""Share of answers whose verification timed out. They count as wrong, so above it accuracy is clearly biased."""


class MetricHistory:
    """The newest row of metrics, and the start values of the metrics that checks compare it with."""

    def __init__(self) -> None:
        self.row: Row = {}
        self.has_levels = False
        """Whether any row had a correlation of budgets with levels."""
        self._first_values: dict[str, deque[float]] = {}

    def add(self, row: Row) -> None:
        """Make `row` the newest row."""
        self.row = row
        self.has_levels = self.has_levels or "budget_level_rho" in row
        for key in ("budget", "entropy"):
            value = self.number(key)
            first = self._first_values.setdefault(key, deque())
            if value is not None and len(first) < START_ROWS:
                first.append(value)

    def number(self, key: str) -> float | None:
        """Return the newest value of a metric, or None if it is absent or not finite."""
        value = self.row.get(key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    def above(self, key: str, limit: float) -> bool:
        """Return whether the newest value exceeds the limit. False if there is no value."""
        value = self.number(key)
        return value is not None and value > limit

    def below(self, key: str, limit: float) -> bool:
        """Return whether the newest value is less than the limit. False if there is no value."""
        value = self.number(key)
        return value is not None and value < limit

    def start(self, key: str) -> float | None:
        """Return the mean of the metric's first START_ROWS values, or None while there are fewer."""
        first = self._first_values.get(key, ())
        return sum(first) / START_ROWS if len(first) == START_ROWS else None


@dataclass(frozen=True)
class Symptom:
    """A problem that metrics can show."""

    is_present: Callable[[MetricHistory], bool]
    patience: int
    """Number of rows in a row that must show the problem before the warning."""
    describe: Callable[[MetricHistory], str]
    """Returns what is wrong, with the numbers that show it."""
    advice: str
    """What the user can do."""


class HealthMonitor:
    """Observes the rows of metrics in order, and returns warnings with advice.

    >>> HealthMonitor().observe({"step": 7, "loss": float("nan")})[0][:30]
    'step 7: loss is not a number. '
    """

    def __init__(self) -> None:
        self._history = MetricHistory()
        self._streaks = dict.fromkeys(SYMPTOMS, 0)

    def observe(self, row: Row) -> list[str]:
        """Return the warnings that start with this row, usually none. Metrics that the row lacks are not checked."""
        self._history.add(row)
        warnings: list[str] = []
        for name, symptom in SYMPTOMS.items():
            self._streaks[name] = self._streaks[name] + 1 if symptom.is_present(self._history) else 0
            # Equal, not at least: a problem that persists is reported only once.
            if self._streaks[name] == symptom.patience:
                step = row.get("step", "?")
                warnings.append(f"step {step}: {symptom.describe(self._history)}. {symptom.advice}")
        return warnings


def _not_finite(history: MetricHistory) -> list[str]:
    """Return which of loss and gradient norm are present but not finite (null when read from metrics.jsonl)."""
    return [key for key in ("loss", "grad_norm") if key in history.row and history.number(key) is None]


def _budget_collapsed(history: MetricHistory) -> bool:
    if not history.has_levels:
        return history.below("budget_entropy", BUDGET_ENTROPY_GONE)
    # If all budgets are equal, the rank correlation is undefined and its key is absent. `above` is then False,
    # which is right: equal budgets are a collapse.
    adaptive = history.above("budget_level_rho", BUDGET_LEVEL_RHO)
    return history.below("budget_entropy", BUDGET_ENTROPY) and not adaptive


def _budget_over_length(history: MetricHistory) -> bool:
    length = history.number("length")
    return length is not None and history.above("budget", BUDGET_OVER_LENGTH * length)


def _budget_grew(history: MetricHistory) -> bool:
    start = history.start("budget")
    return start is not None and history.above("budget", BUDGET_GROWTH * start)


def _entropy_gone(history: MetricHistory) -> bool:
    start = history.start("entropy")
    return start is not None and history.below("entropy", ENTROPY_LEFT * start)


def _percent(history: MetricHistory, key: str) -> str:
    return f"{100 * history.row[key]:.0f} %"


SYMPTOMS: dict[str, Symptom] = {
    "not_finite": Symptom(
        is_present=lambda history: bool(_not_finite(history)),
        patience=1,  # one such step can already ruin the weights
        describe=lambda history: f"{' and '.join(_not_finite(history))} is not a number",
        advice="Stop and lower the learning rate. On GPUs, make sure that training uses bf16, not fp16.",
    ),
    "groups_equal": Symptom(
        is_present=lambda history: history.above("groups_equal", EQUAL_GROUPS),
        patience=5,
        describe=lambda history: f"all rewards are equal in {_percent(history, 'groups_equal')} of the groups",
        advice="There is nothing to learn from such groups: use larger groups, a higher temperature, or problems "
        "that the model solves sometimes.",
    ),
    "truncated": Symptom(
        is_present=lambda history: history.above("truncated", TRUNCATED),
        patience=3,
        describe=lambda history: f"{_percent(history, 'truncated')} of the completions were truncated",
        advice="Raise max_new_tokens, or check whether the model ends its answers at all.",
    ),
    "format": Symptom(
        is_present=lambda history: history.below("format", FORMAT),
        patience=3,
        describe=lambda history: f"only {_percent(history, 'format')} of the completions follow the response format",
        advice="Start from a cold-started checkpoint. If the format was lost during training, lower the learning rate.",
    ),
    "budget_collapsed": Symptom(
        is_present=_budget_collapsed,
        patience=5,
        describe=lambda history: (
            "the model writes one number as the budget of all problems "
            f"(budget entropy {history.row['budget_entropy']:.2f} nats)"
        ),
        advice="Raise algorithm.budget_entropy.start, or let it last longer with algorithm.budget_entropy.end_at.",
    ),
    "budget_over_length": Symptom(
        is_present=_budget_over_length,
        patience=10,
        describe=lambda history: (
            f"mean budget ({history.row['budget']:.0f}) is more than {BUDGET_OVER_LENGTH:g} times "
            f"the mean length ({history.row['length']:.0f})"
        ),
        advice="Start alpha lower or let it fall sooner, and keep it at its minimum for longer.",
    ),
    "budget_grew": Symptom(
        is_present=_budget_grew,
        patience=5,
        describe=lambda history: (
            f"mean budget ({history.row['budget']:.0f}) is more than {BUDGET_GROWTH:g} times "
            f"its start ({history.start('budget'):.0f})"
        ),
        advice="Strengthen the penalty above the reference length (a more negative r_b), and check "
        "that the problems have reference lengths.",
    ),
    "kl": Symptom(
        is_present=lambda history: history.above("kl", KL),
        patience=3,
        describe=lambda history: f"the KL divergence from the reference is {history.row['kl']:.2g} nats per token",
        advice="Lower the learning rate or raise the KL coefficient.",
    ),
    "entropy": Symptom(
        is_present=_entropy_gone,
        patience=5,
        describe=lambda history: (
            f"entropy fell from {history.start('entropy'):.2g} to {history.row['entropy']:.2g} nats"
        ),
        advice="The policy no longer explores. Lower the learning rate, or stop and use the best checkpoint.",
    ),
    "timeouts": Symptom(
        is_present=lambda history: history.above("verify/timeouts", TIMEOUTS),
        patience=3,
        describe=lambda history: f"verification timed out for {_percent(history, 'verify/timeouts')} of the answers",
        advice="These answers count as wrong. Look at them in completions.jsonl, and give each rank more CPU cores.",
    ),
}
"""All checks by name, in the order in which warnings are printed."""
