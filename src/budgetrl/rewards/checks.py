"""A check that every reward makes of its own fields."""

from dataclasses import fields
from math import isfinite

from budgetrl.budget.checks import require
from budgetrl.rewards.shape import Shape


def require_finite(shape: Shape) -> None:
    """ValueError `field: ...` for the first number among the fields that is infinite or not a number."""
    for field in fields(shape):
        value = getattr(shape, field.name)
        require(isinstance(value, str) or isfinite(value), field.name, f"{value} is not a finite number")
