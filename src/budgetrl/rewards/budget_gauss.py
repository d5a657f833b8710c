"""SelfBudgeter's reward with a Gaussian instead of a window, so that it has no cliff."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.rewards.self_budgeter import SelfBudgeter


@dataclass(frozen=True)
class BudgetGauss(SelfBudgeter):
    """Reward lengths near the budget along a Gaussian instead of SelfBudgeter's window.

    Formula:
        PreB = min + (max - min) * exp(-((l - b_best) / (width alpha b))^2 / 2)

    Symbols:
        l: length. b: budget that the response states. Both in tokens.
        alpha: tightness, which falls during training.
        width: the field of this class.
        min, max: the band of the verdict. b_best: best length. For both see `SelfBudgeter`.

    The whole reward adds `r_b` if b > b_max, and is `r_f` for a malformed response (`SelfBudgeter`). With width 1,
    l = b earns 0.61 of the band (the cosine: 0.5), and the far edge of the cosine's window earns 0.14. Just past
    b_best, where the cosine drops from `max` to `min`, this reward falls smoothly.

    Source: arXiv 2505.11274, Formulas 1 and 2, for all but PreB.
    Ours: the Gaussian and its width.

    Limits: more than about 3 width alpha b away from b_best, the reward is flat to within floating-point precision,
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
    """Standard deviation of the Gaussian, as a multiple of alpha b, the half-width of the cosine's window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width > 0, "width", f"{self.width} is not positive")

    def closeness(self, offset: float, best: float) -> float:
        deviations = (offset - best) / self.width
        return math.exp(-deviations * deviations / 2)
