"""Warnings when training goes wrong: what it looks like in the metrics, and what to do about it.

A symptom is judged on rows of `metrics.jsonl` alone, so after a resume the monitor is rebuilt by showing it
the rows that are already there. Each symptom is told once when it begins, and again only after it had gone.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

START_ROWS = 5
"""The mean of so many first rows is what later ones are compared with: one row is too noisy."""
EQUAL_GROUPS = 0.95
"""Above this share of groups with equal rewards nearly all of the batch has advantage 0."""
TRUNCATED = 0.9
"""Above this share hardly any answer is finished, so hardly any can be right."""
FORMAT = 0.5
"""A cold-started model writes the format in 85 % of cases or more; at half it has forgotten it."""
BUDGET_ENTROPY = 0.5
"""Nats. Below, about 1.6 numbers are left to choose from, which is what a finished policy has as well; so it
is a symptom only while budgets do not follow the level either."""
BUDGET_LEVEL_RHO = 0.3
"""Rank correlation; the mini benchmark's locked-in runs were below, its adaptive ones above 0.8."""
BUDGET_ENTROPY_GONE = 0.01
"""Nats. The same where problems have no level: below, one number is written always."""
BUDGET_OVER_LENGTH = 2.0
"""A budget twice the length: neither the 50 % match nor the user can trust it."""
BUDGET_GROWTH = 2.0
"""A budget twice its start: it should fall, or stay where it was."""
KL = 0.5
"""Nats per token. Ordinary runs stay below 0.1; at 0.5 the policy is another model than its reference."""
ENTROPY_LEFT = 0.05
"""Share of the entropy at the start. Relative, because what is normal differs tenfold between models."""
TIMEOUTS = 0.05
"""Share of answers whose check timed out: each counts as wrong, so the verdicts are biased beyond noise."""


class Seen:
    """What the checks look at: the newest row, and the mean of each metric at the start."""

    def __init__(self) -> None:
        self.row: Row = {}
        self.has_levels = False
        """Whether budgets were ever compared with levels."""
        self._start: dict[str, deque[float]] = {}

    def add(self, row: Row) -> None:
        self.row = row
        self.has_levels = self.has_levels or "budget_level_rho" in row
        for key in ("budget", "entropy"):
            value = self.number(key)
            first = self._start.setdefault(key, deque())
            if value is not None and len(first) < START_ROWS:
                first.append(value)

    def number(self, key: str) -> float | None:
        """The newest value; None where it is absent or not finite."""
        value = self.row.get(key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    def above(self, key: str, limit: float) -> bool:
        value = self.number(key)
        return value is not None and value > limit

    def below(self, key: str, limit: float) -> bool:
        value = self.number(key)
        return value is not None and value < limit

    def start(self, key: str) -> float | None:
        """The mean of the first rows, once there are enough."""
        first = self._start.get(key, ())
        return sum(first) / START_ROWS if len(first) == START_ROWS else None


@dataclass(frozen=True)
class Symptom:
    """Something that can be wrong with a run."""

    shows: Callable[[Seen], bool]
    patience: int
    """Steps in a row it must show before it is told."""
    text: Callable[[Seen], str]
    """What is seen."""
    advice: str


class HealthMonitor:
    """Shown each row of metrics in turn, says what looks wrong and what to do.

    >>> HealthMonitor().observe({"step": 7, "loss": float("nan")})[0][:30]
    'step 7: loss is not a number. '
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._streaks = dict.fromkeys(SYMPTOMS, 0)

    def observe(self, row: Row) -> list[str]:
        """The warnings that begin with this row; mostly none. Metrics a row lacks are not judged."""
        self._seen.add(row)
        return [self._text(name) for name, symptom in SYMPTOMS.items() if self._begins(name, symptom)]

    def _begins(self, name: str, symptom: Symptom) -> bool:
        self._streaks[name] = self._streaks[name] + 1 if symptom.shows(self._seen) else 0
        return self._streaks[name] == symptom.patience

    def _text(self, name: str) -> str:
        symptom = SYMPTOMS[name]
        return f"step {self._seen.row.get('step', '?')}: {symptom.text(self._seen)}. {symptom.advice}"


def _not_finite(seen: Seen) -> list[str]:
    """metrics.jsonl has null for what was not finite."""
    return [key for key in ("loss", "grad_norm") if key in seen.row and seen.number(key) is None]


def _budget_collapsed(seen: Seen) -> bool:
    if not seen.has_levels:
        return seen.below("budget_entropy", BUDGET_ENTROPY_GONE)
    # Absent where all budgets are equal: ranks that are all tied correlate with nothing.
    adaptive = seen.above("budget_level_rho", BUDGET_LEVEL_RHO)
    return seen.below("budget_entropy", BUDGET_ENTROPY) and not adaptive


def _budget_over_length(seen: Seen) -> bool:
    length = seen.number("length")
    return length is not None and seen.above("budget", BUDGET_OVER_LENGTH * length)


def _budget_grew(seen: Seen) -> bool:
    start = seen.start("budget")
    return start is not None and seen.above("budget", BUDGET_GROWTH * start)


def _entropy_gone(seen: Seen) -> bool:
    start = seen.start("entropy")
    return start is not None and seen.below("entropy", ENTROPY_LEFT * start)


def _percent(key: str) -> Callable[[Seen], str]:
    return lambda seen: f"{100 * seen.row[key]:.0f} %"


SYMPTOMS: dict[str, Symptom] = {
    "not_finite": Symptom(
        shows=lambda seen: bool(_not_finite(seen)),
        patience=1,
        text=lambda seen: f"{' and '.join(_not_finite(seen))} is not a number",
        advice="Stop and lower the learning rate; on GPUs check that training runs in bf16, not fp16.",
    ),
    "groups_equal": Symptom(
        shows=lambda seen: seen.above("groups_equal", EQUAL_GROUPS),
        patience=5,
        text=lambda seen: f"in {_percent('groups_equal')(seen)} of the groups all rewards are equal",
        advice="There is nothing to learn from: use larger groups, a higher temperature, or problems "
        "that are neither all solved nor all missed.",
    ),
    "truncated": Symptom(
        shows=lambda seen: seen.above("truncated", TRUNCATED),
        patience=3,
        text=lambda seen: f"{_percent('truncated')(seen)} of the completions were cut off at the token limit",
        advice="Raise the limit on new tokens, or check that the model can end its answers at all.",
    ),
    "format": Symptom(
        shows=lambda seen: seen.below("format", FORMAT),
        patience=3,
        text=lambda seen: f"only {_percent('format')(seen)} of the completions keep the response format",
        advice="Start from a cold-started checkpoint; if it came during training, lower the learning rate.",
    ),
    "budget_collapsed": Symptom(
        shows=_budget_collapsed,
        patience=5,
        text=lambda seen: (
            f"the budget has settled on one number (entropy {seen.row['budget_entropy']:.2f} nats) whatever the problem"
        ),
        advice="Raise the entropy bonus on the budget, or let it last longer.",
    ),
    "budget_over_length": Symptom(
        shows=_budget_over_length,
        patience=10,
        text=lambda seen: (
            f"budgets ({seen.row['budget']:.0f}) are more than {BUDGET_OVER_LENGTH:g} times "
            f"the lengths ({seen.row['length']:.0f})"
        ),
        advice="Let alpha start lower or fall sooner, and stay at its floor for longer.",
    ),
    "budget_grew": Symptom(
        shows=_budget_grew,
        patience=5,
        text=lambda seen: (
            f"budgets ({seen.row['budget']:.0f}) have grown to more than {BUDGET_GROWTH:g} times "
            f"their start ({seen.start('budget'):.0f})"
        ),
        advice="Make the penalty above the reference length stronger (a more negative r_b), and check "
        "that the problems have reference lengths.",
    ),
    "kl": Symptom(
        shows=lambda seen: seen.above("kl", KL),
        patience=3,
        text=lambda seen: f"the policy is {seen.row['kl']:.2g} nats per token away from its reference",
        advice="Lower the learning rate or raise the KL coefficient.",
    ),
    "entropy": Symptom(
        shows=_entropy_gone,
        patience=5,
        text=lambda seen: f"entropy fell from {seen.start('entropy'):.2g} to {seen.row['entropy']:.2g} nats",
        advice="The policy no longer explores: lower the learning rate, or stop and keep the best one.",
    ),
    "timeouts": Symptom(
        shows=lambda seen: seen.above("verify/timeouts", TIMEOUTS),
        patience=3,
        text=lambda seen: f"checking timed out for {_percent('verify/timeouts')(seen)} of the answers",
        advice="Timed-out answers count as wrong: look at them in completions.jsonl, and give the "
        "verifier more workers.",
    ),
}
"""By name, in the order they are told."""
