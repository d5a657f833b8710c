"""DAPO's soft overlong punishment: a penalty that grows over the last tokens before the maximum length."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite, require_max_length
from budgetrl.rewards.group import verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Overlong(Reward):
    """Reward right answers, and penalize lengths close to the maximum (DAPO's soft overlong punishment).

    Formula:
        R     = 1 + R_len   if right
                -1 + R_len  if wrong
        R_len = 0                            if L <= L_max - cache
                (L_max - cache - L) / cache  if L_max - cache < L <= L_max
                -1                           if L > L_max

    Symbols:
        L: length of the response, in tokens. L_max: `max_length`.
        cache: width of the interval in which the penalty grows, in tokens.

    A truncated response is wrong, and its R_len is that of the length at which it was cut off.

    Source: arXiv 2503.14476, section on overlong reward shaping. The paper's alternative, overlong filtering, excludes
    truncated responses from the loss; that is a setting of the algorithm, not of this reward.
    Training: DAPO: clip-higher, token-level loss, dynamic sampling, no KL penalty.

    Limits: below L_max - cache, no length is preferred. The paper's numbers are for completions of up to 20480
    tokens. For shorter ones, set `max_length` (null: the stage's limit) and a smaller `cache`.

    >>> lengths = (16000, 18432, 20480, 21000)
    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in lengths]
    >>> Overlong()(group, progress=0)
    [1.0, 0.5, 0.0, 0.0]
    """

    name: str = "overlong"
    max_length: int | None = 20480
    """L_max, in tokens; null: the stage's max_new_tokens."""
    cache: int = 4096
    """Number of tokens below L_max over which the punishment grows."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_cache(self.cache, self.max_length)

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `overlong`."""
        longest = require_max_length(self.max_length)
        return {
            "verdict": verdicts(group, wrong=-1.0),
            "overlong": [soft_overlong(outcome.length, longest, self.cache) for outcome in group],
        }


def soft_overlong(length: int, max_length: int, cache: int) -> float:
    """Return R_len of `Overlong`, from -1 to 0. All arguments are in tokens."""
    # One line through (L_max - cache, 0) and (L_max, -1), clamped to 0 before and to -1 beyond.
    return max(-1.0, min(0.0, (max_length - cache - length) / cache))


def require_cache(cache: int, max_length: int | None) -> None:
    """Raise SettingError unless `cache` is 1 or more and, if `max_length` is set, below it."""
    require(cache >= 1, "cache", f"{cache} is not positive")
    fits = max_length is None or cache < max_length
    require(fits, "cache", f"{cache} is not below max_length ({max_length}); every response would be penalized")
