"""From a source's name to its settings class."""

from budgetrl.core.classes import find_class
from budgetrl.data import sources as built_in
from budgetrl.data.sources.base import DatasetSettings


def source_class(source: str) -> type[DatasetSettings]:
    """The settings of a built-in source (`jsonl`) or of the user's own (`my_package.sources.MySource`).

    SettingError about `source` if there is none or it is not a source (see `find_class`).

    >>> source_class("jsonl").__name__
    'JsonlSettings'
    """
    return find_class(source, built_in, DatasetSettings, "source of problems", key="source")
