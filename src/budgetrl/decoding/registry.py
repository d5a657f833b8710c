"""Find decoding methods by name."""

import budgetrl.decoding as built_in
from budgetrl.core.classes import find_class
from budgetrl.decoding.base import DecodingMethod


def decoding_class(name: str) -> type[DecodingMethod]:
    """Return the class of a built-in method (`two_budgets`) or of your own (`my_package.decoding.MyMethod`).

    Raises:
        SettingError: There is no such class, or it is not a decoding method. The key is `name`.
    """
    return find_class(name, built_in, DecodingMethod, "decoding method")
