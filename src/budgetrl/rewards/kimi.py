"""Kimi k1.5: length counts relative to the shortest and the longest response of the group."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Kimi(Reward):
    """The length reward of Kimi k1.5 (arXiv 2501.12599, section on the length penalty).

        R = [right] + w * (x if right else min(0, x))       x = 0.5 - (L - L_min) / (L_max - L_min)

    L_min and L_max are the shortest and the longest length of all responses to the prompt, right or wrong;
    where they are equal, x = 0. Truncated responses are wrong, and are compared at the length they were cut at,
    since the paper compares all. w is 0 for the first `warmup` of training and `weight` from then on.

    The paper gives neither the weight nor the length of the warm-up. 0.4 is what the published code of LASER
    (hkust-nlp/Laser: verl/utils/reward_score/length_penalty.py) takes for its comparison with Kimi; 0.25 is ours.

    Published with the paper's own algorithm, a squared surrogate with a mean baseline and no division by the
    standard deviation.

    Limits: the spread is divided out, so two lengths that differ by one token are told apart as sharply
    as two that differ by thousands. With a weight above 2 the longest right answer can score below a
    wrong one.

    >>> lengths = [(True, 1000), (False, 2000), (True, 3000), (False, 4000)]
    >>> group = [Outcome(well_formed=True, correct=correct, length=length) for correct, length in lengths]
    >>> [round(value, 6) for value in Kimi(weight=1.0).parts(group, progress=1)["length"]]
    [0.5, 0.0, -0.166667, -0.5]
    """

    name: str = "kimi"
    weight: float = 0.4
    """w after the warm-up."""
    warmup: float = 0.25
    """Share of training before length counts."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.weight >= 0, "weight", f"{self.weight} is negative")
        require_range(self, 0, 1, "warmup")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        weight, lengths = self.weight_at(progress), [outcome.length for outcome in group]
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [weight * _length_reward(outcome, min(lengths), max(lengths)) for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {"length_weight": self.weight_at(progress)}

    def weight_at(self, progress: float) -> float:
        """w at `progress` (0 to 1) of training."""
        return 0.0 if progress < self.warmup else self.weight


def _length_reward(outcome: Outcome, shortest: int, longest: int) -> float:
    if shortest == longest:
        return 0.0
    place = 0.5 - (outcome.length - shortest) / (longest - shortest)
    return place if is_right(outcome) else min(0.0, place)
