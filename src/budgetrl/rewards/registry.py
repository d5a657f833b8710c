"""From a reward's name to its class."""

import budgetrl.rewards as built_in
from budgetrl.budget.classes import class_names, find_class
from budgetrl.rewards.shape import Shape


def shape_names() -> list[str]:
    """Names of the built-in rewards."""
    return class_names(built_in, Shape)


def shape_class(name: str) -> type[Shape]:
    """The class of a built-in reward (`budget_cosine`) or of the user's own (`my_package.rewards.MyReward`).

    ValueError, starting with `name:`, if there is none or it is not a reward (see `find_class`).

    >>> shape_class("budget_cosine").__name__
    'BudgetCosine'
    """
    return find_class(name, built_in, Shape, "reward")
