"""The base class of L1's rewards, where the prompt asks for a number of tokens."""

from dataclasses import dataclass
from random import Random

from budgetrl.core.checks import require
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.reward import Reward


@dataclass(frozen=True)
class AskedLength(Reward):
    """Draw the number of tokens n that a prompt asks for, uniformly from `budget_low` to `budget_high`.

    Source: L1, arXiv 2503.04697. The budget of a response is the number its prompt asked for.
    """

    alpha: float = 0.0003
    """Slope of the reward: change per token of distance from n."""
    budget_low: int = 100
    """Smallest number of tokens that a prompt asks for."""
    budget_high: int = 4000
    """Largest number of tokens that a prompt asks for."""
    wording: str = "{budget}"
    """How the prompt states n, for instructions that leave the wording to the reward (`conf/model/hf.yaml`)."""

    needs_format = "prompt_budget"
    length_fields = ("budget_high",)

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.alpha > 0, "alpha", f"{self.alpha} is not positive")
        require(self.budget_low >= 1, "budget_low", f"{self.budget_low} is not positive")
        require("{budget}" in self.wording, "wording", f"{self.wording!r} does not contain {{budget}}", "add it")
        low, high = self.budget_low, self.budget_high
        require(low <= high, "budget_high", f"{high} is below budget_low ({low})")

    def asked_budget(self, seed: int) -> int:
        return Random(seed).randint(self.budget_low, self.budget_high)  # both ends included
