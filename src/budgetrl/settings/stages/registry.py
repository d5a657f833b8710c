"""Finds the settings class of a stage by name."""

from budgetrl.core.classes import class_names, find_class
from budgetrl.settings import stages as built_in
from budgetrl.settings.stages.base import StageSettings


def stage_names() -> list[str]:
    """Return the names of the built-in stages."""
    return class_names(built_in, StageSettings)


def stage_class(name: str) -> type[StageSettings]:
    """Return the settings class of a built-in stage (`grpo`) or of a user's own (`my_package.stages.MyStage`).

    Raises:
        SettingError: about `name`, if there is no such class or it is not a stage.
    """
    return find_class(name, built_in, StageSettings, "stage")
