"""SER-RL (self-rewarded efficiency RL): of the group's right answers, shorter ones earn more."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.group import is_right, right_lengths, verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class SerRl(Reward):
    """Reward right answers, with a bonus for being short among the group's right answers (reconstruction of SER-RL).

    Formula:
        R = 1 + weight * (1 - (L - L_min) / (L_max - L_min))  if right
            0                                                 if wrong

    Symbols:
        L: length of the response, in tokens.
        L_min, L_max: lengths of the shortest and the longest right response of the group.

    With fewer than two right responses there is no length term. If all right responses have the same length, each
    gets the full term. Wrong and truncated responses earn 0 and are not used in the comparison.

    Source: arXiv 2506.15647, which rewards accuracy and concise correct responses, with a target that comes from the
    model's own group.
    Ours: the form of the equation and its weight. The paper's equation was in no source we could read.
    Training: unknown to us.

    Limits: the shortest and the longest response set the scale, so a single outlier compresses all others.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (100, 150, 300)]
    >>> SerRl()(group, progress=0)
    [1.5, 1.375, 1.0]
    """

    name: str = "ser_rl"
    weight: float = 0.5
    """Difference in reward between the shortest and the longest right response."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.weight >= 0, "weight", f"{self.weight} is negative")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        lengths = right_lengths(group)
        return {
            "verdict": verdicts(group),
            "length": [self._length(outcome, lengths) for outcome in group],
        }

    def _length(self, outcome: Outcome, lengths: Sequence[int]) -> float:
        if len(lengths) < 2 or not is_right(outcome):
            return 0.0
        shortest, longest = min(lengths), max(lengths)
        spread = max(longest - shortest, 1)  # if all are equal, the numerator is 0 and each gets the full weight
        return self.weight * (1 - (outcome.length - shortest) / spread)
