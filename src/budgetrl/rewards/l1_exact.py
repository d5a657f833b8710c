"""L1 exact: a right answer, and exactly as long as the prompt asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.records import Outcome
from budgetrl.rewards.asked_length import AskedLength
from budgetrl.rewards.checks import require_budget
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts


@dataclass(frozen=True)
class L1Exact(AskedLength):
    """The exact reward of length controlled policy optimization (L1, arXiv 2503.04697, LCPO-Exact; published code:
    cmu-l3/l1, math_reward.py, and scripts/data/deepscaler_dataset.py for n).

        R = [right] - alpha |n - L|

    n is the number of tokens that the prompt asks for, drawn evenly from `budget_low` to `budget_high`, L the
    length. The price of missing n is paid by wrong and truncated responses too, at the length they have.
    alpha = 0.0003 is what the released training script sets. L1 counts all tokens of the response:
    `model.length=response`.

    Published with GRPO and a KL penalty (k3, 0.001).

    Limits: the price has no bound, so a wrong answer of the right length beats a right one that is more than
    1 / alpha tokens off. n says nothing about how hard the problem is.

    >>> asked = Outcome(well_formed=True, correct=True, length=1500, budget=1000)
    >>> L1Exact()([asked], progress=0)
    [0.85]
    """

    name: str = "l1_exact"

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`; ValueError if a prompt asked for no length."""
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [-self.alpha * abs(require_budget(self, outcome) - outcome.length) for outcome in group],
        }
