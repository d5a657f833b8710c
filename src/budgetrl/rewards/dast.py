"""DAST: a length budget from the group's solve rate; the sign of the length term depends on the verdict."""

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
    """Compare lengths with a token budget that depends on how often the problem is solved (DAST).

    Formula:
        R = max(-0.5 x + 0.5,  0.1)  if right
            min( 0.9 x - 0.1, -0.1)  if wrong

        x = (L - L_budget) / L_budget
        L_budget = p * mean_r + (1 - p) * L_max

    Symbols:
        L: length of the response, in tokens. L_max: `max_length`, the longest length allowed.
        p: share of the group that is right. mean_r: mean length of the right responses.

    Rewards are in [0.1, 1] for right answers and in [-1, -0.1] for wrong ones. For an unsolved problem,
    L_budget = L_max. A truncated response is wrong and is measured at the length at which it was cut off.

    Source: arXiv 2503.04472, EMNLP 2025 Industry. Its code was an anonymous link that we could not read.
    Ours: using it as an online reward. The paper ranks responses by this reward and trains on pairs of them.
    Training: SimPO on these pairs. No policy gradient algorithm was published with it.

    Limits: in an unsolved group the longest response earns the most, even if it is repetitive. The paper's L_max of
    4096 is where its sampling cut responses off; set your own value, or null.

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

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.max_length is None or self.max_length > 0, "max_length", f"{self.max_length} is not positive")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `calibrated`, which combines verdict and length."""
        budget = self.length_budget(group)
        return {"calibrated": [_calibrated(outcome, budget) for outcome in group]}

    def length_budget(self, group: Sequence[Outcome]) -> float:
        """Return L_budget of the group's problem, in tokens, at least 1."""
        solved, longest = solve_rate(group), require_max_length(self.max_length)
        mean = fmean(right_lengths(group) or [0])  # if nobody is right, its weight is 0
        return max(solved * mean + (1 - solved) * longest, 1.0)  # x divides by it; right lengths may all be 0


def _calibrated(outcome: Outcome, budget: float) -> float:
    excess = (outcome.length - budget) / budget
    # The clamps at 0.1 and -0.1 keep every right answer above every wrong one.
    if is_right(outcome):
        return max(0.5 - 0.5 * excess, 0.1)
    return min(0.9 * excess - 0.1, -0.1)
