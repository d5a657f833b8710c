"""GRPO-LEAD: an exponential of the length relative to the group's right answers, and a penalty for wrong ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite
from budgetrl.rewards.group import LengthStats, is_right, right_lengths, verdicts
from budgetrl.rewards.reward import Parts, Reward

EPSILON = 1e-7
"""Added to the std, in tokens, so that equal lengths do not divide by 0."""
SHORTEST = 3
"""Number of right answers whose mean length is compared with `min_length`. The code uses 3 responses of any verdict."""


@dataclass(frozen=True)
class Lead(Reward):
    """Reward right answers by an exponential of their relative length, and penalize wrong ones (GRPO-LEAD).

    Formula:
        R = exp(-alpha * z)  if right
            wrong            if wrong
        z = (L - mean) / (std + 1e-7)

    Symbols:
        L: length of the response, in tokens.
        mean, std: mean and population standard deviation of the lengths of the group's right answers.

    A right answer of mean length earns 1. A truncated answer is wrong and not included in the statistics.

    Source: arXiv 2504.09696: the formula, alpha = 0.05, and wrong = -1. Code: aeroplanepaper/GRPO-LEAD,
    verl/verl/trainer/main_ppo.py, get_reweight_rewards. It differs from the paper. R stays 1 unless the mean of the 3
    shortest of all responses, right or wrong, is above 4000 tokens (`min_length=4000` is similar, but uses right
    responses only). The std is that of a sample (1 for a single right answer), and epsilon is 1e-6. A response to
    which its verifier gives -1 earns 0, not `wrong`.
    Ours: the population std and the epsilon of 1e-7, which the paper leaves open.
    Training: GRPO with advantages weighted by the difficulty of the problem.

    Limits: only relative spread matters: lengths of 10 and 11 tokens are treated like 1000 and 1100. Nothing
    controls the length of wrong answers.

    >>> lengths, verdicts = (1000, 2000, 500), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> [round(reward, 6) for reward in Lead()(group, progress=0)]
    [1.051271, 0.951229, -1.0]
    """

    name: str = "lead"
    alpha: float = 0.05
    """Steepness of the exponential; 0: length does not count."""
    wrong: float = -1.0
    """Reward of a wrong answer; 0 or below."""
    min_length: float = 0.0
    """Length counts only if the mean of the 3 shortest right answers is above this, in tokens."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require_range(self, 0, math.inf, "alpha", "min_length")
        require(self.wrong <= 0, "wrong", f"{self.wrong} is above 0; a long right answer could earn less")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.alpha else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict`, which is 1 or `wrong`, and `length`, which adds exp(-alpha z) - 1 for right answers."""
        lengths = sorted(right_lengths(group)) or [0]  # a placeholder if nobody is right: right answers alone use it
        stats = LengthStats.of(lengths)
        counts = fmean(lengths[:SHORTEST]) > self.min_length
        return {
            "verdict": verdicts(group, wrong=self.wrong),
            "length": [self._length(outcome, stats) if counts else 0.0 for outcome in group],
        }

    def _length(self, outcome: Outcome, stats: LengthStats) -> float:
        if not is_right(outcome):
            return 0.0
        # R of a right answer is exp(-alpha z), of which the verdict part already has 1.
        return math.exp(-self.alpha * stats.z_score(outcome.length, EPSILON)) - 1
