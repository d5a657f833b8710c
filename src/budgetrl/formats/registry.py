"""Look up a response format's class by name, and build a format from its fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from budgetrl import formats as built_in
from budgetrl.core.checks import require, suggest_name
from budgetrl.core.classes import class_names, find_class
from budgetrl.core.errors import SettingError
from budgetrl.core.typed import read_value
from budgetrl.formats.base import ResponseFormat

AUTO = "auto"
"""Lets the stage choose the format."""
PLAIN = "plain"
"""The format for a model that has not learned one."""


def format_names() -> list[str]:
    """Return the names of the built-in formats."""
    return class_names(built_in, ResponseFormat)


def format_class(name: str) -> type[ResponseFormat]:
    """Return the class of a built-in format (`budget`) or of a user's own (`my_package.formats.Sized`).

    Raises:
        SettingError: about `name`, if there is no such class or it is not a response format (see `find_class`).
    """
    return find_class(name, built_in, ResponseFormat, "response format")


def make_format(name: str, fields: Mapping[str, Any]) -> ResponseFormat:
    """Return a format with the given field values, as read from JSON or YAML.

    Raises:
        SettingError: for an unknown field, or a value of the wrong type.
    """
    cls = format_class(name)
    types = get_type_hints(cls)  # resolves string annotations, which dataclasses.fields does not
    known = [field.name for field in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for key, value in fields.items():
        require(key in known, key, "there is no such key", suggest_name(key, known))
        values[key] = read_value(types[key], value, key)
    # The name last: for a user's own class it is the import path, whatever the class has as its default.
    return cls(**{**values, "name": name})


def require_format(name: str, auto: bool) -> None:
    """Raise SettingError about a field `format` unless its value is a format's name, or `auto` if that is allowed."""
    if auto and name == AUTO:
        return
    try:
        format_class(name)
    except SettingError as error:
        # find_class reports the key `name`, but the user set `format`.
        raise SettingError("format", error.message.text, error.message.hint) from None
