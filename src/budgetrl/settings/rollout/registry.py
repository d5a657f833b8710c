"""Finds the settings class of a rollout engine by name."""

from budgetrl.core.classes import class_names, find_class
from budgetrl.settings import rollout as built_in
from budgetrl.settings.rollout.base import RolloutSettings


def engine_names() -> list[str]:
    """Return the names of the built-in engines."""
    return class_names(built_in, RolloutSettings)


def rollout_class(name: str) -> type[RolloutSettings]:
    """Return the settings class of a built-in engine (`native`) or a user's own (`my_package.engines.MySettings`).

    Raises:
        SettingError: about `name`, if there is no such class or it is not derived from `RolloutSettings`.
    """
    return find_class(name, built_in, RolloutSettings, "engine")
