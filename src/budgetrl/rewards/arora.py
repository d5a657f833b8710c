"""Arora and Zanette's reward: how long a right answer is among the right answers of its group."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import per_component_error
from budgetrl.rewards.group import LengthStats, is_right, right_lengths
from budgetrl.rewards.reward import AlgorithmTraits, Parts, Reward

EPSILON = 1e-7


@dataclass(frozen=True)
class Arora(Reward):
    """A right answer loses up to a share alpha by its length (arXiv 2502.04463, "Training Language Models to Reason
    Efficiently").

        R = 1[right] (1 - alpha sigmoid((L - mean) / (std + 1e-7)))

    with mean and std of the lengths of the group's right answers. The std is that of the population, as in the
    published code (Zanette-Labs/efficient-reasoning: reward_server/math_server.py). Where one answer alone is
    right, it is at its own mean, and sigmoid(0) = 1/2.

    A truncated answer is wrong, and not among those compared (the published code has a flag for it).
    Published with RLOO advantages that are not divided by the group's std, which would blow the small differences
    of length up to the size of those between right and wrong; alpha swept over 0, 0.05, 0.1, 0.2 and 0.4.

    Limits: only the order and relative spread of lengths count: a group of 10 and 11 tokens is treated like
    one of 1000 and 1100. Nothing presses on the length of wrong answers.
    Its parts cannot be standardized each by itself (`algorithm.advantage.per_component`), which is refused.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (1000, 2000, 3000)]
    >>> [round(reward, 6) for reward in Arora(alpha=0.2)(group, progress=0)]
    [0.954579, 0.9, 0.845421]
    """

    name: str = "arora"
    alpha: float = 0.1
    """Most that a right answer can lose by its length, from 0 to 1."""

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "alpha")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        spread = LengthStats.of(right_lengths(group) or [0])  # of nobody's length nothing is asked below
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [
                -self.alpha * _sigmoid(spread.z_score(outcome.length, EPSILON)) if is_right(outcome) else 0.0
                for outcome in group
            ],
        }

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """Parts of equal weight, one of which takes length off right answers alone."""
        return [per_component_error(self)] if algorithm.per_component and self.alpha else []


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))
