"""Arora and Zanette: compare a right answer's length with those of the group's other right answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LOWERS_RIGHT_ONLY
from budgetrl.rewards.group import LengthStats, is_right, right_lengths, verdicts
from budgetrl.rewards.reward import Parts, Reward

EPSILON = 1e-7
"""Added to the std, in tokens, so that equal lengths do not divide by 0."""


@dataclass(frozen=True)
class Arora(Reward):
    """Reduce the reward of a right answer by its length relative to the group's right answers (Arora and Zanette).

    Formula:
        R = 1[right] * (1 - alpha * sigmoid((L - mean) / (std + 1e-7)))

    Symbols:
        L: length of the response, in tokens.
        mean, std: mean and population standard deviation of the lengths of the group's right answers.

    A single right answer is at its own mean, so it loses alpha / 2.

    Source: arXiv 2502.04463, "Training Language Models to Reason Efficiently". Code: Zanette-Labs/efficient-reasoning,
    reward_server/math_server.py. The population std is the code's. A truncated answer is wrong and not included in
    the statistics (a flag in the code).
    Training: RLOO with advantages that are not divided by the group's std. Dividing would make the small differences
    in length as large as those between right and wrong. The paper sweeps alpha over 0, 0.05, 0.1, 0.2, and 0.4.

    Limits: only relative spread matters: lengths of 10 and 11 tokens are treated like 1000 and 1100. Nothing
    controls the length of wrong answers.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (1000, 2000, 3000)]
    >>> [round(reward, 6) for reward in Arora(alpha=0.2)(group, progress=0)]
    [0.954579, 0.9, 0.845421]
    """

    name: str = "arora"
    alpha: float = 0.1
    """Largest reduction of a right answer's reward, from 0 to 1."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "alpha")

    def per_component_problem(self) -> str | None:
        return LOWERS_RIGHT_ONLY if self.alpha else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        # If nobody is right, [0] is a placeholder: the statistics are used for right answers only.
        stats = LengthStats.of(right_lengths(group) or [0])
        return {
            "verdict": verdicts(group),
            "length": [self._length(outcome, stats) for outcome in group],
        }

    def _length(self, outcome: Outcome, stats: LengthStats) -> float:
        if not is_right(outcome):
            return 0.0
        return -self.alpha * _sigmoid(stats.z_score(outcome.length, EPSILON))


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))  # cannot overflow: a z-score of a group is at least -sqrt(G)
