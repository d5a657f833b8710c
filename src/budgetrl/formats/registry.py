"""From a format's name, or the import path of a user's own, to its class, and to the format itself."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from budgetrl import formats as built_in
from budgetrl.core.checks import nearest, require
from budgetrl.core.classes import class_names, find_class
from budgetrl.core.errors import SettingError
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
    """The format with these fields, as JSON or YAML hold them. SettingError for a field that it does not have."""
    cls = format_class(name)
    known = [field.name for field in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for key, value in fields.items():
        require(key in known, key, "there is no such key", nearest(key, known))
        values[key] = tuple(value) if isinstance(value, list) else value
    return cls(**{**values, "name": name})


def require_format(record: object, auto: bool) -> None:
    """SettingError about the field `format` of `record` unless it names a format, or `auto` if that is allowed."""
    name = getattr(record, "format")  # noqa: B009  # any settings with such a field
    if auto and name == AUTO:
        return
    try:
        format_class(name)
    except SettingError as error:
        raise SettingError("format", error.message.text, error.message.hint) from None
