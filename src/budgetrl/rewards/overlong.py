"""DAPO's soft overlong punishment: the last stretch before the longest length costs more and more."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Overlong(Reward):
    """The verdict, and DAPO's soft overlong punishment (arXiv 2503.14476, section on overlong reward shaping).

        R = verdict + R_len       verdict = 1 if right, else -1
        R_len = 0                               if L <= L_max - cache
                (L_max - cache - L) / cache     if L_max - cache < L <= L_max
                -1                              if L > L_max

    L is the length, L_max is `max_length`. A truncated response is wrong and earns R_len at the length it
    was cut at. The paper's other remedy, overlong filtering, leaves truncated responses out of the loss;
    that is a matter of the algorithm, not of this reward.

    Published with DAPO: clip-higher, the token-level loss, dynamic sampling, no KL penalty.

    Limits: below L_max - cache no length is preferred. The paper's numbers are for completions of 20480
    tokens; where they end sooner, give `max_length` (null: where the stage cuts) and a smaller `cache`.

    >>> lengths = (16000, 18432, 20480, 21000)
    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in lengths]
    >>> Overlong()(group, progress=0)
    [1.0, 0.5, 0.0, 0.0]
    """

    name: str = "overlong"
    max_length: int | None = 20480
    """L_max, in tokens; null: the stage's max_new_tokens."""
    cache: int = 4096
    """Tokens before L_max over which the punishment grows."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_cache(self.cache, self.max_length)

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `overlong`."""
        longest = require_max_length(self.max_length)
        return {
            "verdict": [1.0 if is_right(outcome) else -1.0 for outcome in group],
            "overlong": [soft_overlong(outcome.length, longest, self.cache) for outcome in group],
        }


def soft_overlong(length: int, max_length: int, cache: int) -> float:
    """R_len of `Overlong`, from -1 to 0; all in tokens."""
    return max(-1.0, min(0.0, (max_length - cache - length) / cache))


def require_cache(cache: int, max_length: int | None) -> None:
    """ValueError `cache: ...` unless it is 1 or more and, where that is known, below `max_length`."""
    require(cache >= 1, "cache", f"{cache} is not positive")
    fits = max_length is None or cache < max_length
    require(fits, "cache", f"{cache} is not below max_length ({max_length}); every response would be punished")
