"""Checks that rewards make of their own fields."""

from dataclasses import fields
from math import isfinite

from budgetrl.core.checks import require
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Reward


def require_finite(reward: Reward) -> None:
    """SettingError for the first number among the fields that is infinite or not a number."""
    for field in fields(reward):
        value = getattr(reward, field.name)
        finite = not isinstance(value, int | float) or isfinite(value)
        require(finite, field.name, f"{value} is not a finite number")


def require_max_length(max_length: int | None) -> int:
    """A reward's `max_length`, in tokens, once it is known; ValueError if it was left null and not filled in."""
    if max_length is None:
        raise SettingError("max_length", "must be given, in tokens", "training fills in the stage's max_new_tokens")
    return max_length


def require_budget(reward: Reward, outcome: Outcome) -> int:
    """The outcome's budget in tokens; ValueError if it has none, or one below 1."""
    if outcome.budget is None or outcome.budget < 1:
        raise ValueError(
            f"budget: {outcome.budget} in a response to problem {outcome.problem_id!r}; {reward.name} needs a "
            f"positive number of tokens (response format {reward.needs_format!r})"
        )
    return outcome.budget


def per_component_error(reward: Reward) -> Message:
    """The fault of a reward whose length part is negative for right answers alone, where each part is standardized.

    With one right answer in the group the parts then are opposites: advantages are 0, whoever is right.
    """
    text = (
        f"reward={reward.name} takes length off right answers alone, so that by itself this part ranks them below "
        "wrong ones"
    )
    return Message("algorithm.advantage.per_component", text, "set it to false")
