"""From a decoding method's name to its class."""

import budgetrl.decoding as built_in
from budgetrl.core.classes import class_names, find_class
from budgetrl.decoding.base import DecodingMethod


def decoding_names() -> list[str]:
    """Names of the built-in methods."""
    return class_names(built_in, DecodingMethod)


def decoding_class(name: str) -> type[DecodingMethod]:
    """The class of a built-in method (`two_budgets`) or of the user's own (`my_package.decoding.MyMethod`).

    SettingError about `name` if there is none or it is not a decoding method (see `find_class`).
    """
    return find_class(name, built_in, DecodingMethod, "decoding method")
