"""SelfBudgeter's published reward: a half cosine wave over a window around the budget."""

import math
from dataclasses import dataclass

from budgetrl.rewards.self_budgeter import SLACK, SelfBudgeter


@dataclass(frozen=True)
class BudgetCosine(SelfBudgeter):
    """Reward lengths near the budget along a half cosine wave (SelfBudgeter's precise budget control reward).

    Formula:
        PreB = min                                                              if |l - b| > alpha b
               min + (max - min) * (1 + cos(pi |l - b_best| / (2 alpha b))) / 2  otherwise

    Symbols:
        l: length. b: budget that the response states. Both in tokens.
        alpha: tightness, which falls during training.
        min, max: the band of the verdict. b_best: best length. For both see `SelfBudgeter`.

    PreB is `max` at b_best, the middle of the band at l = b, and `min` at the far edge of the window. The whole
    reward adds `r_b` if b > b_max, and is `r_f` for a malformed response (`SelfBudgeter`).

    Source: arXiv 2505.11274, Formulas 1, 2, and 4. From the paper: the window, b_best, the bands and their values,
    and alpha falling linearly from 6 to 0.1 over the whole training.
    Ours: the argument of the cosine, which no source we have prints; 2 alpha b is the one that makes the far edge the
    worst place. Also ours: alpha starts at 1, reaches its final value halfway through training, and stays there.

    Limits: the best length is at the near edge of the window, and one token beyond it earns only `min`. Outside the
    window there is no gradient. With alpha >= 1, a correct answer earns more the shorter it is relative to b, which
    inflates b; only r_b limits that.

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
        # A length on the edge of the window must count as inside, since the best reward is there. But alpha * b is
        # rounded: 100 - 71 = 29 is above 0.29 * 100 in floating point. SLACK keeps such lengths inside.
        if abs(offset) > 1 + SLACK:
            return 0.0
        return (1 + math.cos(math.pi * abs(offset - best) / 2)) / 2
