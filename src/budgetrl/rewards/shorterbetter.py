"""ShorterBetter's reward: the distance to the shortest right answer of the group."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.group import is_right, right_lengths
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class ShorterBetter(Reward):
    """The verdict, less a price for each token away from the sample optimal length (arXiv 2504.21370).

        R = alpha 1[right] - beta |L - SOL|,  SOL = the shortest right length of the group,
                                                    the mean of all lengths where nobody is right

    Published code (JingyangYi/ShorterBetter): alpha 2 and beta 0.001; the paper also reports alpha 1. Published
    with GRPO. A truncated response is wrong; its length counts towards the mean where nobody is right (ours: left
    open).

    Limits: the price has no bound. A right answer alpha / beta tokens longer than the shortest one (2000 by
    default) earns no more than a wrong one of the best length, and every token below SOL costs a wrong answer
    as much as one above. Where nobody is right, responses are drawn to their common mean.

    >>> lengths, verdicts = (1000, 1500, 1500), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> ShorterBetter()(group, progress=0)
    [2.0, 1.5, -0.5]
    """

    name: str = "shorterbetter"
    alpha: float = 2.0
    """Reward of a right answer."""
    beta: float = 0.001
    """Price of each token away from the sample optimal length."""

    def __post_init__(self) -> None:
        require_range(self, 0, float("inf"), "alpha", "beta")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        best = min(right_lengths(group), default=fmean(outcome.length for outcome in group))
        return {
            "verdict": [self.alpha * is_right(outcome) for outcome in group],
            "length": [-self.beta * abs(outcome.length - best) for outcome in group],
        }
