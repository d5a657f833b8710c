"""GRPO-LEAD's reward: an exponential of the length among the right answers, and a price for wrong ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.group import LengthStats, is_right, right_lengths
from budgetrl.rewards.reward import Parts, Reward

EPSILON = 1e-7
SHORTEST = 3
"""Right answers whose mean length the gate looks at; the published code looks at as many responses."""


@dataclass(frozen=True)
class Lead(Reward):
    """GRPO-LEAD's length-dependent reward with an explicit penalty (arXiv 2504.09696).

        R = exp(-alpha z)  if right,  z = (L - mean) / (std + 1e-7)
            wrong          if wrong

    with mean and std of the lengths of the group's right answers, so a right answer of mean length earns 1.

    Paper: the formula, alpha 0.05 and wrong -1. Ours, left open there: the std is that of the population, and its
    epsilon. A truncated answer is wrong, and not among those compared. Published with advantages that are weighted
    by the difficulty of the problem.

    The published code (aeroplanepaper/GRPO-LEAD: verl/verl/trainer/main_ppo.py, get_reweight_rewards) differs: it
    leaves R at 1 unless the mean of the 3 shortest of all responses, right or wrong, is above 4000 tokens, where
    `min_length=4000` looks at the right ones alone; it has the std of a sample (1 for a single right answer) and an
    epsilon of 1e-6; and a response that its verifier gives -1 earns 0, not `wrong`.

    Limits: only relative spread counts: a group of 10 and 11 tokens is treated like one of 1000 and 1100. Nothing
    presses on the length of wrong answers.

    >>> lengths, verdicts = (1000, 2000, 500), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> [round(reward, 6) for reward in Lead()(group, progress=0)]
    [1.051271, 0.951229, -1.0]
    """

    name: str = "lead"
    alpha: float = 0.05
    """Steepness; 0: the length does not count."""
    wrong: float = -1.0
    """Reward of a wrong answer; 0 or below."""
    min_length: float = 0.0
    """Lengths count only where the mean of the 3 shortest right answers is above this, in tokens."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_range(self, 0, math.inf, "alpha", "min_length")
        require(self.wrong <= 0, "wrong", f"{self.wrong} is above 0, where the worst right answers are")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict`, which is 1 or `wrong`, and `length`."""
        shortest = sorted(right_lengths(group))[:SHORTEST] or [0]
        spread = LengthStats.of(right_lengths(group) or [0])  # of nobody's length nothing is asked below
        counts = fmean(shortest) > self.min_length
        return {
            "verdict": [1.0 if is_right(outcome) else self.wrong for outcome in group],
            "length": [
                math.exp(-self.alpha * spread.z_score(outcome.length, EPSILON)) - 1
                if counts and is_right(outcome)
                else 0.0
                for outcome in group
            ],
        }
