"""L1 exact: reward right answers that are exactly as long as the prompt asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.records import Outcome
from budgetrl.rewards.asked_length import AskedLength
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_budget
from budgetrl.rewards.group import verdicts
from budgetrl.rewards.reward import Parts


@dataclass(frozen=True)
class L1Exact(AskedLength):
    """Reward right answers, and penalize every token of distance from the length that the prompt asks for (L1 exact).

    Formula:
        R = 1[right] - alpha * |n - L|

    Symbols:
        L: length of the response, in tokens.
        n: number of tokens that the prompt asks for, drawn uniformly from `budget_low` to `budget_high`.

    Wrong and truncated responses pay for the distance from n too, at their own length.

    Source: arXiv 2503.04697, LCPO-Exact (length controlled policy optimization). Code: cmu-l3/l1, math_reward.py; for
    n, scripts/data/deepscaler_dataset.py. alpha = 0.0003 is the value in the released training script. L1 counts all
    tokens of the response: `model.length=response`.
    Training: GRPO with a KL penalty (k3, 0.001).

    Limits: the penalty is unbounded, so a wrong answer of the right length beats a right one that is more than
    1 / alpha tokens off. n is unrelated to the difficulty of the problem.

    >>> asked = Outcome(well_formed=True, correct=True, length=1500, budget=1000)
    >>> L1Exact()([asked], progress=0)
    [0.85]
    """

    name: str = "l1_exact"

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`.

        Raises:
            ValueError: if a prompt asked for no length.
        """
        return {
            "verdict": verdicts(group),
            "length": [-self.alpha * abs(require_budget(self, outcome) - outcome.length) for outcome in group],
        }
