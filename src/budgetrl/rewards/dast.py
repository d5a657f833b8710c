"""DAST: a length budget from the group's own solve rate; right answers below it, wrong ones above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import is_right, right_lengths, solve_rate
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Dast(Reward):
    """DAST's reward, calibrated by the token length budget of a problem (arXiv 2503.04472, EMNLP 2025 Industry).

        R = max(-0.5 x + 0.5, 0.1)     if right         x = (L - L_budget) / L_budget
            min( 0.9 x - 0.1, -0.1)    otherwise        L_budget = p mean_r + (1 - p) L_max

    p is the share of the group that is right, mean_r the mean length of the right ones, L_max (`max_length`) the
    longest length allowed. So right answers lie in [0.1, 1] and wrong ones in [-1, -0.1]; an unsolved
    problem has L_budget = L_max. A truncated response is wrong, and earns by the length it was cut at.

    The paper ranks responses by this reward and trains on pairs of them with SimPO; here it is an online reward,
    which is ours. So no policy gradient algorithm was published with it. Its code was an anonymous link, which we
    could not read.

    Limits: in an unsolved group the longest response is the best, repetitive ones too. The paper's 4096 is
    where its sampling cut responses off: give your own, or null.

    >>> lengths = [(True, 1000), (True, 3000), (False, 1000), (False, 3000)]
    >>> solved = [Outcome(well_formed=True, correct=True, length=1000)] * 3
    >>> for correct, length in lengths[::2]:
    ...     group = [*solved, Outcome(well_formed=True, correct=correct, length=length)]
    ...     print(round(Dast()(group, progress=0)[-1], 6))
    0.5
    -0.492672
    """

    name: str = "dast"
    max_length: int | None = 4096
    """L_max, in tokens; null: the stage's max_new_tokens."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.max_length is None or self.max_length > 0, "max_length", f"{self.max_length} is not positive")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`calibrated`: verdict and length are one number."""
        budget = self.length_budget(group)
        return {"calibrated": [_calibrated(outcome, budget) for outcome in group]}

    def length_budget(self, group: Sequence[Outcome]) -> float:
        """L_budget of the group's problem, in tokens; 1 or more, so that it can be divided by."""
        solved, longest = solve_rate(group), require_max_length(self.max_length)
        mean = fmean(right_lengths(group) or [0])
        return max(solved * mean + (1 - solved) * longest, 1.0)


def _calibrated(outcome: Outcome, budget: float) -> float:
    excess = (outcome.length - budget) / budget
    return max(0.5 - 0.5 * excess, 0.1) if is_right(outcome) else min(0.9 * excess - 0.1, -0.1)
