"""Look up a reward class by name."""

import budgetrl.rewards as built_in
from budgetrl.core.classes import class_names, find_class
from budgetrl.rewards.reward import Reward


def reward_names() -> list[str]:
    """Return the names of the built-in rewards."""
    return class_names(built_in, Reward)


def reward_class(name: str) -> type[Reward]:
    """Return the class of a built-in reward (`budget_cosine`) or of a user's own (`my_package.rewards.MyReward`).

    Raises:
        SettingError: about `name`, if there is no such class or it is not a reward (see `find_class`).

    >>> reward_class("budget_cosine").__name__
    'BudgetCosine'
    """
    return find_class(name, built_in, Reward, "reward")
