"""Checks shared by rewards: on their fields, on outcomes, and on the algorithm that uses them."""

from dataclasses import fields
from math import isfinite

from budgetrl.core.checks import require
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Reward


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


def per_component_error(reward: Reward) -> Message:
    """Return the error for a reward whose length part is negative for right answers only, used with per_component.

    `per_component` standardizes each part over the group before they are added. Example: one right answer of four,
    beyond the limit. The parts are verdict = [1, 0, 0, 0] and length = [-1, 0, 0, 0]. Standardized, they are exact
    opposites, so every advantage is 0 and nothing is learned from the right answer.
    """
    text = (
        f"reward={reward.name} lowers the reward of right answers only; standardized separately, this part ranks them "
        "below wrong ones"
    )
    return Message("algorithm.advantage.per_component", text, "set it to false")
