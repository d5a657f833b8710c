"""SelfBudgeter's reward with a Gaussian in place of the window: no cliff."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.rewards.self_budgeter import SelfBudgeter


@dataclass(frozen=True)
class BudgetGauss(SelfBudgeter):
    """A Gaussian around SelfBudgeter's best length (ours; the rest of arXiv 2505.11274, Formulas 1 and 2).

    In the band [min, max] of the verdict, for length l, budget b and tightness alpha,

        PreB = min + (max - min) exp(-((l - b_best) / (width alpha b))^2 / 2)

    The whole reward adds `r_b` for b > b_max, and is `r_f` for a malformed response (`SelfBudgeter`).
    At width 1, l = b earns 0.61 of the band (the cosine: 0.5) and the far edge of the cosine's window
    0.14. Just past b_best, where the cosine falls from `max` to `min`, this one falls gently.

    Ours: the kernel and its width.

    Limits: beyond about 3 width alpha b from b_best the reward is flat to within floating point noise,
    so a budget that is far off late in training stays there.

    >>> from budgetrl.core.records import Outcome
    >>> reward = BudgetGauss(alpha_start=0.1, alpha_schedule="constant")
    >>> lengths = [880, 900, 1000, 1100]
    >>> group = [Outcome(well_formed=True, correct=True, length=l, budget=1000) for l in lengths]
    >>> [round(reward, 4) for reward in reward(group, progress=1)]
    [0.9901, 1.0, 0.8033, 0.5677]
    """

    name: str = "budget_gauss"
    width: float = 1.0
    """Standard deviation of the Gaussian, in half-widths of the cosine's window (alpha b)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width > 0, "width", f"{self.width} is not positive")

    def closeness(self, offset: float, best: float) -> float:
        deviations = (offset - best) / self.width
        return math.exp(-deviations * deviations / 2)
