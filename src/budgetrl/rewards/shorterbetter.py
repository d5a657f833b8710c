"""ShorterBetter: penalize the distance to the shortest right answer of the group."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH
from budgetrl.rewards.group import right_lengths, verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class ShorterBetter(Reward):
    """Reward right answers, and penalize each token of distance from the sample optimal length (ShorterBetter).

    Formula:
        R = alpha * 1[right] - beta * |L - SOL|

    Symbols:
        L: length of the response, in tokens.
        SOL: sample optimal length: the shortest right length of the group, or the mean of all lengths if nobody is
            right.

    Source: arXiv 2504.21370. Code: JingyangYi/ShorterBetter, with alpha = 2 and beta = 0.001. The paper also reports
    alpha = 1.
    Ours: a truncated response is wrong, and its length counts toward the mean if nobody is right. This is left open.
    Training: GRPO.

    Limits: the penalty is unbounded. A right answer alpha / beta tokens longer than the shortest one (2000 by
    default) earns no more than a wrong one of the best length. A token below SOL costs a wrong answer as much as one
    above. If nobody is right, responses are pulled toward their common mean.

    >>> lengths, verdicts = (1000, 1500, 1500), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> ShorterBetter()(group, progress=0)
    [2.0, 1.5, -0.5]
    """

    name: str = "shorterbetter"
    alpha: float = 2.0
    """Reward of a right answer."""
    beta: float = 0.001
    """Penalty per token of distance from SOL."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_range(self, 0, float("inf"), "alpha", "beta")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.beta else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        mean = fmean(outcome.length for outcome in group)
        best = min(right_lengths(group), default=mean)  # SOL
        return {
            "verdict": verdicts(group, right=self.alpha),
            "length": [-self.beta * abs(outcome.length - best) for outcome in group],
        }
