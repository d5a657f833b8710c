"""From an engine's name to the class of its settings."""

from budgetrl.core.classes import class_names, find_class
from budgetrl.settings import rollout as built_in
from budgetrl.settings.rollout.base import RolloutSettings


def engine_names() -> list[str]:
    """Names of the built-in engines."""
    return class_names(built_in, RolloutSettings)


def rollout_class(name: str) -> type[RolloutSettings]:
    """The settings of a built-in engine (`native`) or of the user's own (`my_package.engines.MySettings`).

    SettingError about `name` if there is none or it is not derived from `RolloutSettings` (see `find_class`).
    """
    return find_class(name, built_in, RolloutSettings, "engine")
