"""Accuracy: the baseline reward for correct answers in the required format."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Accuracy(Reward):
    """Reward correct answers in the required format; length and budget do not matter.

    Formula:
        R = r_f      if malformed
            correct  if well formed and correct
            wrong    if well formed and wrong

    Symbols: the fields of this class.

    Source: the usual outcome reward of reasoning models, and the baseline that shows what the other rewards add. It
    works with any response format.
    Ours: a malformed response earns r_f even if its answer is correct.

    Limits: if all responses of a group have the same verdict, nothing is learned. Nothing controls the length.

    >>> right = Outcome(well_formed=True, correct=True, length=80)
    >>> wrong = Outcome(well_formed=True, correct=False, length=15)
    >>> malformed = Outcome(well_formed=False, correct=True, length=80)
    >>> Accuracy()([right, wrong, malformed], progress=0)
    [1.0, 0.0, -1.0]
    """

    name: str = "accuracy"
    r_f: float = -1.0
    """Reward of a malformed response."""
    correct: float = 1.0
    """Reward of a correct answer."""
    wrong: float = 0.0
    """Reward of a wrong answer."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.correct > self.wrong, "correct", f"{self.correct} is not above wrong ({self.wrong})")
        require(self.r_f <= self.wrong, "r_f", f"{self.r_f} is above wrong ({self.wrong})")

    def per_component_problem(self) -> str | None:
        # The parts are r_f and 0 if malformed, 0 and `wrong` if wrong.
        if self.r_f <= 0 <= self.wrong:
            return None
        return "the format part can outweigh the verdict part, so malformed responses can rank as high as wrong ones"

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `format` and `verdict`."""
        return {
            "format": [0.0 if outcome.well_formed else self.r_f for outcome in group],
            "verdict": [self._verdict(outcome) for outcome in group],
        }

    def _verdict(self, outcome: Outcome) -> float:
        if not outcome.well_formed:
            return 0.0  # these earn r_f, in the format part
        return self.correct if outcome.correct else self.wrong
