"""SelfBudgeter's own reward: half a cosine wave over a window around the budget."""

import math
from dataclasses import dataclass

from budgetrl.rewards.self_budgeter import SLACK, SelfBudgeter


@dataclass(frozen=True)
class BudgetCosine(SelfBudgeter):
    """SelfBudgeter's precise budget control reward (arXiv 2505.11274, Formulas 1, 2 and 4).

    In the band [min, max] of the verdict, for length l, budget b and tightness alpha,

        PreB = min                                                            if |l - b| > alpha b
               min + (max - min) (1 + cos(pi |l - b_best| / (2 alpha b))) / 2  otherwise

    so PreB is `max` at b_best, the mean of the band at l = b, and `min` at the far edge of the window.
    The whole reward adds `r_b` for b > b_max, and is `r_f` for a malformed response (`SelfBudgeter`).

    Paper: the window, b_best, the bands and their values, alpha falling linearly from 6 to 0.1 over all
    of training. Ours: the argument of the cosine, which no source we have prints (2 alpha b is the one
    that makes the far edge the worst place); alpha from 1, at its floor halfway through training and held.

    Limits: the best length is the near edge of the window, and a token beyond it earns only `min`.
    Outside the window there is no gradient. With alpha >= 1 a correct answer is the better the shorter
    it is relative to b, which inflates b; only r_b holds that back.

    >>> from budgetrl.core.records import Outcome
    >>> reward = BudgetCosine(alpha_start=0.2, alpha_schedule="constant")
    >>> on_budget = Outcome(well_formed=True, correct=True, length=1000, budget=1000, b_max=2000)
    >>> too_wide = Outcome(well_formed=True, correct=True, length=900, budget=1000, b_max=950)
    >>> malformed = Outcome(well_formed=False, correct=True, length=40)
    >>> [round(reward, 4) for reward in reward([on_budget, too_wide, malformed], progress=0.5)]
    [0.75, 0.5268, -1.0]
    """

    name: str = "budget_cosine"

    def closeness(self, offset: float, best: float) -> float:
        # Lengths are integers and the edge is where the best reward lies, but alpha * b is rounded:
        # 100 - 71 = 29 > 0.29 * 100 in floating point. The slack keeps such lengths inside.
        if abs(offset) > 1 + SLACK:
            return 0.0
        return (1 + math.cos(math.pi * abs(offset - best) / 2)) / 2
