"""From a stage's name to its settings class."""

from budgetrl.core.classes import class_names, find_class
from budgetrl.settings import stages as built_in
from budgetrl.settings.stages.base import StageSettings


def stage_names() -> list[str]:
    """Names of the built-in stages."""
    return class_names(built_in, StageSettings)


def stage_class(name: str) -> type[StageSettings]:
    """The settings of a built-in stage (`grpo`) or of the user's own (`my_package.stages.MyStage`).

    SettingError about `name` if there is none or it is not a stage (see `find_class`).
    """
    return find_class(name, built_in, StageSettings, "stage")
