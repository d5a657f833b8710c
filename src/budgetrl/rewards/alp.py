"""ALP: a penalty per token that grows with the solve rate of the problem."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_max_length
from budgetrl.rewards.group import solve_rate, verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Alp(Reward):
    """Penalize every token, more so on problems that the policy solves often (ALP).

    Formula:
        R = 1[right] - beta * max(p, 1/K) * L / N

    Symbols:
        L: length of the response, in tokens.
        p: share of the group that is right. K: size of the group.
        N: `max_length`, in tokens.

    Right and wrong answers pay the same penalty. 1/K keeps a small penalty on problems that nobody solved.

    Source: arXiv 2506.05256, "Just Enough Thinking". We know of no published code.
    Ours: N is the longest completion; the paper leaves it open. No source we could read states beta, so sweep it.
    A truncated response is wrong and pays for all its tokens.
    Training: GRPO.

    Limits: the penalty is small relative to the verdict. If all of a group are right and advantages are divided by
    the group's std, the size of the penalty cancels out.

    >>> right, wrong = (Outcome(True, correct, length=2000) for correct in (True, False))
    >>> rewards = Alp(max_length=8192)([right, right, right, wrong], progress=0)
    >>> [round(reward, 5) for reward in rewards]
    [0.98169, 0.98169, 0.98169, -0.01831]
    """

    name: str = "alp"
    beta: float = 0.1
    """Penalty of a response of N tokens to a problem that is always solved."""
    max_length: int | None = None
    """N, in tokens; null: the stage's max_new_tokens."""

    def __post_init__(self) -> None:
        require_range(self, 0, float("inf"), "beta")
        require_count(self, "max_length")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.beta else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        rate = max(solve_rate(group), 1 / len(group))  # never 0, so unsolved problems keep a small penalty
        price = self.beta * rate / require_max_length(self.max_length)  # per token
        return {
            "verdict": verdicts(group),
            "length": [-price * outcome.length for outcome in group],
        }
