"""What SelfBudgeter's rewards have in common: the bands, the budget penalty and the schedule of alpha."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.core.schedules import SCHEDULES, anneal
from budgetrl.rewards.checks import require_budget, require_finite
from budgetrl.rewards.reward import Parts, Reward

SLACK = 1e-9
"""Numbers this close count as equal: 0.3 - 0.1 and 0.2 are the same bound to the user who wrote them."""


@dataclass(frozen=True)
class SelfBudgeter(Reward):
    """A band of reward for each verdict, and a place in it for how well the length met the budget.

        R = r_f                       if the response is malformed, else
            P_B(b, b_max) + PreB      with  P_B = r_b if b > b_max else 0
                                            PreB = min + (max - min) * closeness

    `min` and `max` are the band of the verdict. The verdict has no term of its own. A subclass gives
    `closeness`, a number from 0 to 1 that is 1 at the best length b_best: (1 - alpha) b for a correct
    answer, (1 + alpha) b for a wrong one, so correct answers are drawn to be shorter than their budget
    and wrong ones longer. All of this is the paper's (arXiv 2505.11274, section 3 on the reward, its
    Formulas 1, 2, 5 and 6); `alpha_end_at` and the defaults of alpha are ours, found on the mini task.

    Bands in which a wrong answer can outscore a correct one are refused. A penalty r_b so large that one
    can across budgets (the paper wants correct_min + r_b >= wrong_max) is noted in the plan.

    Limits: b_max is infinite where the initial model was wrong, so nothing presses on the budgets of
    problems it cannot solve. While alpha is large the budget may drift away from the length.
    """

    r_f: float = -1.0
    """Reward of a malformed response."""
    r_b: float = -0.4
    """Added when the budget exceeds the reference length b_max; 0 or below."""
    correct_min: float = 0.5
    """Worst reward of a correct answer within b_max."""
    correct_max: float = 1.0
    """Best reward of a correct answer."""
    wrong_min: float = -0.5
    """Worst reward of a wrong answer within b_max."""
    wrong_max: float = 0.0
    """Best reward of a wrong answer."""
    alpha_start: float = 1.0
    """Tightness at the start: half-width of the window as a share of the budget."""
    alpha_end: float = 0.1
    """Tightness once the schedule is over; not used by the constant schedule."""
    alpha_schedule: str = "linear"
    """How alpha falls: constant (stays at alpha_start), linear or cosine."""
    alpha_end_at: float = 0.5
    """Share of training after which alpha has reached alpha_end and is held there; 1 is the paper's."""

    needs_format = "budget"
    needs_b_max = True

    def __post_init__(self) -> None:
        require_finite(self)
        self._check_bands()
        self._check_schedule()

    @abstractmethod
    def closeness(self, offset: float, best: float) -> float:
        """Share of the band earned, from 0 to 1.

        Both arguments are distances from the budget in half-widths of the window:
        `offset` = (l - b) / (alpha b), and `best` = (b_best - b) / (alpha b), which is -1 for a
        correct answer and 1 for a wrong one.
        """

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`format`, `budget_penalty` and `adherence`; ValueError if a well-formed outcome has no budget."""
        alpha = self.alpha(progress)
        return {
            "format": [0.0 if outcome.well_formed else self.r_f for outcome in group],
            "budget_penalty": [self._budget_penalty(outcome) for outcome in group],
            "adherence": [self._adherence(outcome, alpha) for outcome in group],
        }

    def warnings(self) -> list[Message]:
        """The paper's condition correct_min + r_b >= wrong_max, and malformed below everything else."""
        found: list[Message] = []
        room = self.wrong_max - self.correct_min
        if self.r_b < room - SLACK:
            text = f"is below {room:g}: a wrong answer can outscore a correct one above b_max"
            found.append(Message("reward.r_b", text))
        if self.r_f > (worst := self.wrong_min + self.r_b) + SLACK:
            text = f"is above {worst:g}: a malformed response can outscore a wrong one above b_max"
            found.append(Message("reward.r_f", text))
        return found

    def schedule(self, progress: float) -> dict[str, float]:
        return {"alpha": self.alpha(progress)}

    def alpha(self, progress: float) -> float:
        """Tightness at `progress` (0 to 1) of training."""
        return anneal(self.alpha_schedule, self.alpha_start, self.alpha_end, progress, self.alpha_end_at)

    def _budget_penalty(self, outcome: Outcome) -> float:
        over = outcome.well_formed and require_budget(self, outcome) > outcome.b_max
        return self.r_b if over else 0.0

    def _adherence(self, outcome: Outcome, alpha: float) -> float:
        if not outcome.well_formed:
            return 0.0
        budget = require_budget(self, outcome)
        offset = (outcome.length - budget) / (alpha * budget)
        if outcome.correct:
            low, high, best = self.correct_min, self.correct_max, -1.0
        else:
            low, high, best = self.wrong_min, self.wrong_max, 1.0
        return low + (high - low) * self.closeness(offset, best)

    def _check_bands(self) -> None:
        require(self.r_b <= 0, "r_b", f"{self.r_b} would reward budgets above b_max; give 0 or less")
        for low, high in (("correct_min", "correct_max"), ("wrong_min", "wrong_max")):
            require(getattr(self, low) <= getattr(self, high), low, f"{getattr(self, low)} is above {high}")
        room = self.wrong_max - self.correct_min
        require(
            room <= SLACK,
            "correct_min",
            f"{self.correct_min} lets a wrong answer outscore a correct one; it must be at least wrong_max "
            f"({self.wrong_max})",
        )

    def _check_schedule(self) -> None:
        require(self.alpha_start > 0, "alpha_start", f"{self.alpha_start} is not positive")
        require(self.alpha_end > 0, "alpha_end", f"{self.alpha_end} is not positive")
        require(0 < self.alpha_end_at <= 1, "alpha_end_at", f"{self.alpha_end_at} is not in (0, 1]")
        require_option(self, SCHEDULES, "alpha_schedule")
        # A window that widens would undo what the model has learned; it is always a slip of the pen.
        require(
            self.alpha_schedule == "constant" or self.alpha_end <= self.alpha_start,
            "alpha_end",
            f"{self.alpha_end} is above alpha_start ({self.alpha_start}); the window only tightens",
        )
