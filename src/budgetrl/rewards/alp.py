"""ALP's reward: a price for every token that grows with how often the problem is solved."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_max_length
from budgetrl.rewards.group import is_right, solve_rate
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Alp(Reward):
    """The adaptive length penalty of "Just Enough Thinking" (arXiv 2506.05256).

        R = 1[right] - beta max(p, 1/K) L / N

    with p the share of the group's K responses that are right. Right and wrong answers pay alike; 1/K keeps a
    small price on problems that nobody solved.

    Paper: the formula; there is no published code that we know of. Open: beta, which no source we could read
    states, so sweep it, and N, which we take for the longest completion, `max_length`. A truncated response is
    wrong, and pays for all that it wrote. Published with GRPO.

    Limits: relative to the verdict the price is small, and in a group that is all right its size is lost where
    advantages are divided by the group's std.

    >>> right, wrong = (Outcome(True, correct, length=2000) for correct in (True, False))
    >>> rewards = Alp(max_length=8192)([right, right, right, wrong], progress=0)
    >>> [round(reward, 5) for reward in rewards]
    [0.98169, 0.98169, 0.98169, -0.01831]
    """

    name: str = "alp"
    beta: float = 0.1
    """Price of a response of N tokens to a problem that is always solved."""
    max_length: int | None = None
    """N, in tokens; null: the stage's max_new_tokens."""

    def __post_init__(self) -> None:
        require_range(self, 0, float("inf"), "beta")
        require_count(self, "max_length")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        price = self.beta * max(solve_rate(group), 1 / len(group)) / require_max_length(self.max_length)
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [-price * outcome.length for outcome in group],
        }
