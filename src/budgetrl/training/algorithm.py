"""What turns rewards into a loss: the `algorithm` group."""

import math
from dataclasses import dataclass

from budgetrl.budget.checks import require_option, require_range
from budgetrl.budget.schedules import anneal

KL_ESTIMATORS = ("k1", "k2", "k3")
LOSS_LEVELS = ("token", "sequence")


@dataclass(frozen=True)
class Algorithm:
    """GRPO (arXiv 2402.03300), with the switches its descendants differ in.

    Sources: advantages and k3 from GRPO; `normalise_std=false` from Dr. GRPO (arXiv 2503.20783);
    the token level and a `clip_high` above `clip_low` from DAPO (arXiv 2503.14476). The entropy
    bonus on the budget field is ours.
    """

    name: str = "grpo"
    """The option under conf/algorithm/."""
    normalise_std: bool = True
    """Divide advantages by the group's standard deviation of rewards (plus `std_floor`)."""
    std_floor: float = 0.01
    """Added to that standard deviation: keeps a group of nearly equal rewards from being blown up."""
    clip_low: float = 0.2
    """The probability ratio is clipped below at 1 - clip_low. Inactive at one optimiser step per rollout."""
    clip_high: float = 0.2
    """The probability ratio is clipped above at 1 + clip_high."""
    kl_coefficient: float = 0.0
    """Weight of the KL penalty to the initial policy. 0: off, and no reference model is loaded."""
    kl_estimator: str = "k3"
    """k1, k2 or k3; `losses.kl_penalty` says what each one's value and gradient estimate."""
    loss_level: str = "token"
    """token: every token of the batch weighs the same. sequence: every completion weighs the same."""
    optimiser_steps_per_rollout: int = 1
    """The prompts of a rollout are split into that many minibatches, one optimiser step each."""
    budget_entropy_start: float = 0.003
    """Entropy bonus: loss -= c * mean over completions of the entropy of the budget field, in nats."""
    budget_entropy_end: float = 0.0
    """Where c ends; it falls linearly."""
    budget_entropy_end_at: float = 0.85
    """Share of training at which c reaches its end value, to be held from there on."""

    def __post_init__(self) -> None:
        require_option(self, ("grpo",), "name")
        require_option(self, KL_ESTIMATORS, "kl_estimator")
        require_option(self, LOSS_LEVELS, "loss_level")
        require_range(self, 0, 1, "clip_low", "budget_entropy_end_at")
        require_range(self, 0, math.inf, "std_floor", "clip_high", "kl_coefficient")
        require_range(self, 0, math.inf, "budget_entropy_start", "budget_entropy_end")
        require_range(self, 1, math.inf, "optimiser_steps_per_rollout")

    def budget_entropy(self, progress: float) -> float:
        """The coefficient c of the entropy bonus at `progress` (0 at the first step, 1 at the last)."""
        start, end = self.budget_entropy_start, self.budget_entropy_end
        return anneal("linear", start, end, progress, self.budget_entropy_end_at)
