"""Self-rewarded efficiency RL: of a group's right answers, the shorter earn more."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.group import is_right, right_lengths
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class SerRl(Reward):
    """A reconstruction of the self-rewarded efficiency reward (arXiv 2506.15647).

        R = 1 + weight (1 - (L - L_min) / (L_max - L_min))   if right
            0                                                otherwise

    L_min and L_max are the lengths of the shortest and the longest right response of the group. With fewer
    than two right ones the length term is left out; where they are all of one length, each has it in full.

    The paper rewards accuracy and, with a target that comes from the model's own group, concise correct
    responses. Its equation was in no source we could read: this form and its weight are ours.
    Wrong and truncated responses earn 0 and are not compared with. Published algorithm: not known to us.

    Limits: the shortest and the longest alone set the scale, so one outlier flattens the rest.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (100, 150, 300)]
    >>> SerRl()(group, progress=0)
    [1.5, 1.375, 1.0]
    """

    name: str = "ser_rl"
    weight: float = 0.5
    """What the shortest right response earns beyond the longest."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.weight >= 0, "weight", f"{self.weight} is negative")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        lengths = right_lengths(group)
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [self._length(outcome, lengths) for outcome in group],
        }

    def _length(self, outcome: Outcome, lengths: Sequence[int]) -> float:
        if len(lengths) < 2 or not is_right(outcome):
            return 0.0
        shortest, longest = min(lengths), max(lengths)
        return self.weight * (1 - (outcome.length - shortest) / max(longest - shortest, 1))
