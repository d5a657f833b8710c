"""Checks that rewards make of their own fields."""

from dataclasses import fields
from math import isfinite

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Reward


def require_finite(shape: Reward) -> None:
    """ValueError `field: ...` for the first number among the fields that is infinite or not a number."""
    for field in fields(shape):
        value = getattr(shape, field.name)
        finite = not isinstance(value, int | float) or isfinite(value)
        require(finite, field.name, f"{value} is not a finite number")


def given_length(max_length: int | None) -> int:
    """A shape's `max_length`, in tokens, once it is known; ValueError if it was left null and not filled in."""
    if max_length is None:
        raise ValueError("max_length: must be given, in tokens; training fills in the stage's max_new_tokens")
    return max_length


def given_budget(shape: Reward, outcome: Outcome) -> int:
    """The outcome's budget in tokens; ValueError if it has none, or one below 1."""
    if outcome.budget is None or outcome.budget < 1:
        raise ValueError(
            f"budget: {outcome.budget} in a response to problem {outcome.problem_id!r}; {shape.name} needs a "
            f"positive number of tokens (response format {shape.needs_format!r})"
        )
    return outcome.budget


def undone_verdict(shape: Reward) -> str:
    """The fault of a shape whose length part is negative for right answers alone, where each part is standardized.

    With one right answer in the group the parts then are opposites: advantages are 0, whoever is right.
    """
    return (
        f"algorithm.per_component: reward={shape.name} takes length off right answers alone, so that by itself this "
        "part ranks them below wrong ones; set it to false"
    )
