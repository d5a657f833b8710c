"""Find the settings class of a source by its name."""

from budgetrl.core.classes import find_class
from budgetrl.data import sources as built_in
from budgetrl.data.sources.base import DatasetSettings


def source_class(source: str) -> type[DatasetSettings]:
    """Return the settings class of a built-in source (`jsonl`) or of a user's own (`my_package.sources.MySource`).

    Raises:
        SettingError: about `source`, if the class does not exist or is not a data source (see `find_class`).

    >>> source_class("jsonl").__name__
    'JsonlSettings'
    """
    return find_class(source, built_in, DatasetSettings, "data source", key="source")
