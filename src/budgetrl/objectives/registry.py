"""Look up an objective class by name."""

import budgetrl.objectives as built_in
from budgetrl.core.classes import find_class
from budgetrl.objectives.base import Objective


def objective_class(name: str) -> type[Objective]:
    """Return the class of a built-in objective (`supervised`) or of a user's own (`my_package.objectives.Focal`).

    Raises:
        SettingError: about `name`, if there is no such class or it is not an objective (see `find_class`).

    >>> objective_class("supervised").__name__
    'Supervised'
    """
    return find_class(name, built_in, Objective, "objective")
