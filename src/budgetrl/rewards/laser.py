"""LASER's reward: a step at one target length."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import per_component_error, require_finite
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import AlgorithmTraits, Parts, Reward

VARIANTS = ("bonus", "penalty", "hybrid")


@dataclass(frozen=True)
class Laser(Reward):
    """A right answer within the target length earns a bonus (arXiv 2505.15612, LASER).

        R = wrong                                                if wrong
            correct + bonus 1[L <= target]                       if right, variant `bonus`
            correct - bonus 1[L > target]                        if right, variant `penalty`
            correct + bonus (1[L <= target] - 1[L > target])     if right, variant `hybrid`

    Published code (hkust-nlp/Laser: verl/utils/reward_score/length_penalty.py): 1, -0.5 and 0.5, and the three
    variants; the target was swept over 2048, 4096 and 8192 tokens. There (hf_math_verifier.py) a response without
    \\boxed, or without both think tags, such as a truncated one, earns -1 whatever its answer; here it earns `wrong`
    if it is truncated or no right answer is found. Published with GRPO, clipped from 0.8 to 1.28.

    With the variants penalty and hybrid `algorithm.advantage.per_component` is refused: standardized by itself, what
    is taken off right answers alone undoes their verdict.

    Limits: one target for easy and hard problems alike (`laser_d` has three), and nothing to gain on either side
    of the step.

    >>> lengths, verdicts = (4096, 4097, 100), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> Laser()(group, progress=0), Laser(variant="hybrid")(group, progress=0)
    ([1.5, 1.0, -0.5], [1.5, 0.5, -0.5])
    """

    name: str = "laser"
    correct: float = 1.0
    """Reward of a right answer."""
    wrong: float = -0.5
    """Reward of a wrong answer."""
    bonus: float = 0.5
    """Height of the step."""
    target: int = 4096
    """Longest length that earns the bonus, or escapes the penalty, in tokens."""
    variant: str = "bonus"
    """bonus (within the target), penalty (beyond it) or hybrid (both)."""

    length_fields = ("target",)

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.correct > self.wrong, "correct", f"{self.correct} is not above wrong ({self.wrong})")
        require_range(self, 0, float("inf"), "bonus")
        require_range(self, 1, float("inf"), "target")
        require_option(self, VARIANTS, "variant")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        return {
            "verdict": [self.correct if is_right(outcome) else self.wrong for outcome in group],
            "length": [self._step(outcome.length) if is_right(outcome) else 0.0 for outcome in group],
        }

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """Parts of equal weight, one of which takes length off right answers alone."""
        cancels = algorithm.per_component and self.bonus > 0 and self.variant != "bonus"
        return [per_component_error(self)] if cancels else []

    def _step(self, length: int) -> float:
        if length <= self.target:
            return 0.0 if self.variant == "penalty" else self.bonus
        return 0.0 if self.variant == "bonus" else -self.bonus
