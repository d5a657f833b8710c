"""The base class of SelfBudgeter's rewards: bands, budget penalty, and the schedule of alpha."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.core.schedules import SCHEDULES, anneal
from budgetrl.rewards.checks import RAISES_MALFORMED, require_budget, require_finite
from budgetrl.rewards.reward import Parts, Reward

SLACK = 1e-9
"""Bounds this close count as equal: 0.3 - 0.1 is not exactly 0.2 in floating point."""


@dataclass(frozen=True)
class SelfBudgeter(Reward):
    """Reward a length close to the budget, within a band for the verdict, and penalize large budgets (SelfBudgeter).

    Formula:
        R    = r_f                               if malformed
               P_B + PreB                        otherwise
        P_B  = r_b if b > b_max, else 0
        PreB = min + (max - min) * closeness

    Symbols:
        b: budget that the response states. b_max: reference length of the problem. Both in tokens.
        min, max: the band of the verdict: `correct_min` and `correct_max`, or `wrong_min` and `wrong_max`.
        closeness: from 0 to 1, defined by the subclass; 1 at the best length b_best.
        b_best: (1 - alpha) b for a correct answer, (1 + alpha) b for a wrong one. So correct answers are pushed to be
            shorter than their budget, and wrong ones longer.

    The verdict has no term of its own; it selects the band.

    Source: arXiv 2505.11274, section 3 on the reward, Formulas 1, 2, 5, and 6.
    Ours: `alpha_end_at` and the defaults of alpha, tuned on the mini task.

    Bands in which a wrong answer can outscore a correct one are rejected. The plan warns about an r_b so negative that
    this can happen between answers with different budgets (the paper requires correct_min + r_b >= wrong_max).

    Limits: b_max is infinite where the initial model was wrong, so nothing limits the budgets of problems that it
    cannot solve. While alpha is large, budget and length may drift apart.
    """

    r_f: float = -1.0
    """Reward of a malformed response."""
    r_b: float = -0.4
    """Added if the budget exceeds the reference length b_max; 0 or below."""
    correct_min: float = 0.5
    """Lowest reward of a correct answer whose budget is within b_max."""
    correct_max: float = 1.0
    """Highest reward of a correct answer."""
    wrong_min: float = -0.5
    """Lowest reward of a wrong answer whose budget is within b_max."""
    wrong_max: float = 0.0
    """Highest reward of a wrong answer."""
    alpha_start: float = 1.0
    """alpha at the start of training: half-width of the window, as a multiple of the budget."""
    alpha_end: float = 0.1
    """alpha at the end of the schedule. Not used by the constant schedule."""
    alpha_schedule: str = "linear"
    """How alpha falls: constant (stays at alpha_start), linear, or cosine."""
    alpha_end_at: float = 0.5
    """Share of training after which alpha stays at alpha_end. The paper: 1."""

    needs_format = "budget"
    needs_b_max = True

    def __post_init__(self) -> None:
        require_finite(self)
        self._check_bands()
        self._check_schedule()

    @abstractmethod
    def closeness(self, offset: float, best: float) -> float:
        """Return the share of the band that is earned, from 0 to 1.

        Both arguments are distances from the budget, in half-widths of the window: `offset` = (l - b) / (alpha b)
        and `best` = (b_best - b) / (alpha b), which is -1 for a correct answer and 1 for a wrong one.
        """

    def per_component_problem(self) -> str | None:
        # The parts of a malformed response are r_f, 0, and 0.
        safe = self.r_b == 0 and self.r_f <= 0 <= self.wrong_min
        return None if safe else RAISES_MALFORMED

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `format`, `budget_penalty`, and `adherence`.

        Raises:
            ValueError: if a well-formed outcome has no budget.
        """
        alpha = self.alpha(progress)
        return {
            "format": [0.0 if outcome.well_formed else self.r_f for outcome in group],
            "budget_penalty": [self._budget_penalty(outcome) for outcome in group],
            "adherence": [self._adherence(outcome, alpha) for outcome in group],
        }

    def warnings(self) -> list[Message]:
        """Return a warning if budgets above b_max can reverse the order correct, wrong, malformed."""
        found: list[Message] = []
        # The paper's condition: correct_min + r_b >= wrong_max.
        lowest_r_b = self.wrong_max - self.correct_min
        if self.r_b < lowest_r_b - SLACK:
            text = f"is below {lowest_r_b:g}: a wrong answer can outscore a correct one whose budget is above b_max"
            found.append(Message("reward.r_b", text))
        worst = self.wrong_min + self.r_b  # of all well-formed responses
        if self.r_f > worst + SLACK:
            text = f"is above {worst:g}: a malformed response can outscore a wrong one whose budget is above b_max"
            found.append(Message("reward.r_f", text))
        return found

    def schedule(self, progress: float) -> dict[str, float]:
        return {"alpha": self.alpha(progress)}

    def alpha(self, progress: float) -> float:
        """Return alpha at `progress` (0 to 1) of training."""
        return anneal(self.alpha_schedule, self.alpha_start, self.alpha_end, progress, self.alpha_end_at)

    def _budget_penalty(self, outcome: Outcome) -> float:
        # A malformed response may have a budget too, but earns r_f only.
        over = outcome.well_formed and require_budget(self, outcome) > outcome.b_max
        return self.r_b if over else 0.0

    def _adherence(self, outcome: Outcome, alpha: float) -> float:
        if not outcome.well_formed:
            return 0.0  # these earn r_f, in the format part
        budget = require_budget(self, outcome)
        offset = (outcome.length - budget) / (alpha * budget)
        if outcome.correct:
            low, high, best = self.correct_min, self.correct_max, -1.0
        else:
            low, high, best = self.wrong_min, self.wrong_max, 1.0
        return low + (high - low) * self.closeness(offset, best)

    def _check_bands(self) -> None:
        require(self.r_b <= 0, "r_b", f"{self.r_b} would reward budgets above b_max; use 0 or less")
        for low, high in (("correct_min", "correct_max"), ("wrong_min", "wrong_max")):
            require(getattr(self, low) <= getattr(self, high), low, f"{getattr(self, low)} is above {high}")
        overlap = self.wrong_max - self.correct_min
        require(
            overlap <= SLACK,
            "correct_min",
            f"{self.correct_min} lets a wrong answer outscore a correct one; use at least wrong_max ({self.wrong_max})",
        )

    def _check_schedule(self) -> None:
        require(self.alpha_start > 0, "alpha_start", f"{self.alpha_start} is not positive")
        require(self.alpha_end > 0, "alpha_end", f"{self.alpha_end} is not positive")
        require(0 < self.alpha_end_at <= 1, "alpha_end_at", f"{self.alpha_end_at} is not in (0, 1]")
        require_option(self, SCHEDULES, "alpha_schedule")
        # A widening window would undo what the model has learned, so this can only be a mistake.
        require(
            self.alpha_schedule == "constant" or self.alpha_end <= self.alpha_start,
            "alpha_end",
            f"{self.alpha_end} is above alpha_start ({self.alpha_start}); the window must not widen",
        )
