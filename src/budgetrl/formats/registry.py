"""From a format's name, or the import path of a user's own, to its class, and to the format itself."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from budgetrl import formats as built_in
from budgetrl.core.checks import nearest, require
from budgetrl.core.classes import class_names, find_class
from budgetrl.core.errors import SettingError
from budgetrl.core.typed import read_value
from budgetrl.formats.base import ResponseFormat

AUTO = "auto"
"""Lets a stage choose its format."""
PLAIN = "plain"
"""What a model is asked for that learned no format."""


def format_names() -> list[str]:
    """Names of the built-in formats."""
    return class_names(built_in, ResponseFormat)


def format_class(name: str) -> type[ResponseFormat]:
    """The class of a built-in format (`budget`) or of the user's own (`my_package.formats.Sized`).

    SettingError about `name` if there is none or it is not a response format (see `find_class`).
    """
    return find_class(name, built_in, ResponseFormat, "response format")


def make_format(name: str, fields: Mapping[str, Any]) -> ResponseFormat:
    """The format with these fields, as JSON or YAML hold them.

    SettingError for a field that it does not have, or a value of another type than the field's.
    """
    cls = format_class(name)
    kinds = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for key, value in fields.items():
        require(key in known, key, "there is no such key", nearest(key, known))
        values[key] = read_value(kinds[key], value, key)
    return cls(**{**values, "name": name})


def require_format(name: str, auto: bool) -> None:
    """SettingError about a field `format` unless its value names a format, or is `auto` if that is allowed."""
    if auto and name == AUTO:
        return
    try:
        format_class(name)
    except SettingError as error:
        raise SettingError("format", error.message.text, error.message.hint) from None
