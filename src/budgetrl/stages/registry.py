"""From a stage's name to its class."""

import budgetrl.stages as built_in
from budgetrl.core.classes import class_names, find_class
from budgetrl.stages.base import Stage


def stage_names() -> list[str]:
    """Names of the built-in stages. Their modules are imported, which takes seconds."""
    return class_names(built_in, Stage)


def stage_class(name: str) -> type[Stage]:
    """The class of a built-in stage (`grpo`) or of the user's own (`my_package.stages.MyStage`).

    ValueError, starting with `name:`, if there is none or it is not a stage (see `find_class`).
    """
    return find_class(name, built_in, Stage, "stage")
