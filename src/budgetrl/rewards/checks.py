"""Checks shared by rewards: on their fields and on outcomes. Reasons why they cannot be used with per_component."""

from dataclasses import fields
from math import isfinite

from budgetrl.core.checks import require
from budgetrl.core.errors import SettingError
from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Reward

LENGTH_COUNTS_AS_MUCH = (
    "the length penalty then counts as much as the verdict, so a wrong or malformed response can rank above a right one"
)
"""Reason of `Reward.per_component_problem` for penalties that right responses can earn while worse ones do not."""

LOWERS_RIGHT_ONLY = "a part that lowers right responses only then ranks them below wrong and malformed ones"
"""Reason of `Reward.per_component_problem` for penalties of right responses alone.

Example: one right answer of four, beyond the limit. The parts are verdict = [1, 0, 0, 0] and length = [-1, 0, 0, 0].
Standardized, they are exact opposites, so every advantage is 0 and nothing is learned from the right answer.
"""

RAISES_MALFORMED = (
    "malformed responses, which earn 0 in some parts, then rank above wrong ones, which earn less than 0 in these"
)
"""Reason of `Reward.per_component_problem` for rewards whose penalties apply to well-formed responses only."""


def require_finite(reward: Reward) -> None:
    """Raise SettingError for the first numeric field that is infinite or NaN."""
    for field in fields(reward):
        value = getattr(reward, field.name)
        finite = not isinstance(value, int | float) or isfinite(value)
        require(finite, field.name, f"{value} is not a finite number")


def require_max_length(max_length: int | None) -> int:
    """Return a reward's `max_length`, in tokens.

    Raises:
        SettingError: if it is still unset (None).
    """
    if max_length is None:
        raise SettingError("max_length", "must be set, in tokens", "in training it defaults to stage.max_new_tokens")
    return max_length


def require_budget(reward: Reward, outcome: Outcome) -> int:
    """Return the outcome's budget, in tokens.

    Raises:
        ValueError: if it has no budget, or one below 1.
    """
    # Well-formed responses in the needed format always have a budget. One without was parsed in another format,
    # or its prompt asked for no length.
    if outcome.budget is None or outcome.budget < 1:
        raise ValueError(
            f"budget: {outcome.budget} in a response to problem {outcome.problem_id!r}; {reward.name} needs a "
            f"positive number of tokens (response format {reward.needs_format!r})"
        )
    return outcome.budget
