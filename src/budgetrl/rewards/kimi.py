"""Kimi k1.5: compare lengths with the shortest and the longest response of the group."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite
from budgetrl.rewards.group import is_right, verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Kimi(Reward):
    """Reward a response by its place between the shortest and the longest of its group (Kimi k1.5).

    Formula:
        R = 1[right] + w * x          if right
            1[right] + w * min(0, x)  if wrong
        x = 0.5 - (L - L_min) / (L_max - L_min), or 0 if L_max = L_min

    Symbols:
        L: length of the response, in tokens.
        L_min, L_max: shortest and longest length of all responses to the prompt, right or wrong.
        w: 0 for the first `warmup` of training, `weight` from then on.

    Truncated responses are wrong and are compared at the length at which they were cut off, since the paper compares
    all responses.

    Source: arXiv 2501.12599, section on the length penalty. The paper gives neither the weight nor the length of the
    warm-up. The weight of 0.4 is from LASER's published code (hkust-nlp/Laser,
    verl/utils/reward_score/length_penalty.py), which uses it for a comparison with Kimi.
    Ours: the warm-up of 0.25.
    Training: the paper's own algorithm: a squared surrogate with a mean baseline and no division by the standard
    deviation.

    Limits: lengths are scaled by their range, so a difference of one token can count as much as one of thousands.
    With a weight above 2, the longest right answer can score below a wrong one.

    >>> lengths = [(True, 1000), (False, 2000), (True, 3000), (False, 4000)]
    >>> group = [Outcome(well_formed=True, correct=correct, length=length) for correct, length in lengths]
    >>> [round(value, 6) for value in Kimi(weight=1.0).parts(group, progress=1)["length"]]
    [0.5, 0.0, -0.166667, -0.5]
    """

    name: str = "kimi"
    weight: float = 0.4
    """w after the warm-up."""
    warmup: float = 0.25
    """Share of training before length counts, from 0 to 1."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.weight >= 0, "weight", f"{self.weight} is negative")
        require_range(self, 0, 1, "warmup")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.weight else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        weight = self.weight_at(progress)
        lengths = [outcome.length for outcome in group]
        return {
            "verdict": verdicts(group),
            "length": [weight * _length_reward(outcome, min(lengths), max(lengths)) for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {"length_weight": self.weight_at(progress)}

    def weight_at(self, progress: float) -> float:
        """Return w at `progress` (0 to 1) of training."""
        return 0.0 if progress < self.warmup else self.weight


def _length_reward(outcome: Outcome, shortest: int, longest: int) -> float:
    if shortest == longest:
        return 0.0  # avoids 0 / 0
    x = 0.5 - (outcome.length - shortest) / (longest - shortest)  # 0.5 for the shortest, -0.5 for the longest
    return x if is_right(outcome) else min(0.0, x)  # a short wrong answer earns no bonus
