"""LASER: a bonus for right answers within one target length."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LOWERS_RIGHT_ONLY, require_finite
from budgetrl.rewards.group import is_right, verdicts
from budgetrl.rewards.reward import Parts, Reward

VARIANTS = ("bonus", "penalty", "hybrid")
"""A reward within the target, a penalty beyond it, or both."""


@dataclass(frozen=True)
class Laser(Reward):
    """Reward right answers, with a bonus if they are no longer than a target length (LASER).

    Formula:
        R = wrong                                                   if wrong
            correct + bonus * 1[L <= target]                        if right, variant `bonus`
            correct - bonus * 1[L > target]                         if right, variant `penalty`
            correct + bonus * (1[L <= target] - 1[L > target])      if right, variant `hybrid`

    Symbols:
        L: length of the response, in tokens. The rest are the fields of this class.

    Source: arXiv 2505.15612, LASER. Code: hkust-nlp/Laser, verl/utils/reward_score/length_penalty.py: the values 1,
    -0.5, and 0.5, and the three variants. The target was swept over 2048, 4096, and 8192 tokens. In the code
    (hf_math_verifier.py), a response without \\boxed or without both think tags, such as a truncated one, earns -1
    whatever its answer.
    Ours: a response earns `wrong` if it is truncated or no right answer is found.
    Training: GRPO, with the ratio clipped to the range from 0.8 to 1.28.

    Limits: easy and hard problems have the same target (`laser_d` has three), and length does not matter on either
    side of the step.

    >>> lengths, verdicts = (4096, 4097, 100), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> Laser()(group, progress=0), Laser(variant="hybrid")(group, progress=0)
    ([1.5, 1.0, -0.5], [1.5, 0.5, -0.5])
    """

    name: str = "laser"
    correct: float = 1.0
    """Reward of a right answer, without the bonus."""
    wrong: float = -0.5
    """Reward of a wrong answer."""
    bonus: float = 0.5
    """Size of the bonus, or of the penalty."""
    target: int = 4096
    """Longest length that earns the bonus or avoids the penalty, in tokens."""
    variant: str = "bonus"
    """bonus (within the target), penalty (beyond it), or hybrid (both)."""

    length_fields = ("target",)

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.correct > self.wrong, "correct", f"{self.correct} is not above wrong ({self.wrong})")
        require_range(self, 0, float("inf"), "bonus")
        require_range(self, 1, float("inf"), "target")
        require_option(self, VARIANTS, "variant")

    def per_component_problem(self) -> str | None:
        # With variant=bonus the length part is never negative, so right answers stay above wrong ones.
        return LOWERS_RIGHT_ONLY if self.bonus and self.variant != "bonus" else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        return {
            "verdict": verdicts(group, self.correct, self.wrong),
            "length": [self._step(outcome.length) if is_right(outcome) else 0.0 for outcome in group],
        }

    def _step(self, length: int) -> float:
        if length <= self.target:
            return 0.0 if self.variant == "penalty" else self.bonus
        return 0.0 if self.variant == "bonus" else -self.bonus
