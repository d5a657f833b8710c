"""From a reward's name to its class."""

import budgetrl.rewards as built_in
from budgetrl.core.classes import class_names, find_class
from budgetrl.rewards.reward import Reward


def reward_names() -> list[str]:
    """Names of the built-in rewards."""
    return class_names(built_in, Reward)


def reward_class(name: str) -> type[Reward]:
    """The class of a built-in reward (`budget_cosine`) or of the user's own (`my_package.rewards.MyReward`).

    ValueError, starting with `name:`, if there is none or it is not a reward (see `find_class`).

    >>> reward_class("budget_cosine").__name__
    'BudgetCosine'
    """
    return find_class(name, built_in, Reward, "reward")
