"""Values of YAML, JSON and command lines as the fields of a dataclass hold them."""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from budgetrl.core.errors import SettingError


def read_value(kind: Any, value: Any, at: str) -> Any:
    """A value as a field of this type holds it: JSON's lists become tuples, numbers may come as text.

    SettingError about the key `at` for a value of another type.

    >>> read_value(tuple[int, ...], [1, "2"], "stage.budgets")
    (1, 2)
    """
    if kind is Any:
        return value
    if get_origin(kind) in (Union, types.UnionType):
        return _read_one_of(kind, value, at)
    if get_origin(kind) is tuple:
        return _read_tuple(kind, value, at)
    if get_origin(kind) is list:
        (item_kind,) = get_args(kind)
        return [read_value(item_kind, item, at) for item in _as_list(value, at)]
    if get_origin(kind) is dict:
        return _read_dict(kind, value, at)
    return _read_plain(kind, value, at)


def _read_one_of(kind: Any, value: Any, at: str) -> Any:
    """The value as the first type of a union that takes it; most unions are a type or None."""
    choices = [choice for choice in get_args(kind) if choice is not types.NoneType]
    if value is None and len(choices) < len(get_args(kind)):
        return None
    for choice in choices[:-1]:
        try:
            return read_value(choice, value, at)
        except SettingError:
            continue
    return read_value(choices[-1], value, at)


def _read_tuple(kind: Any, value: Any, at: str) -> tuple[Any, ...]:
    items, kinds = _as_list(value, at), get_args(kind)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(read_value(kinds[0], item, at) for item in items)
    if len(items) != len(kinds):
        raise SettingError(at, f"must be a list of {len(kinds)}, got {list(items)}")
    return tuple(read_value(own, item, at) for own, item in zip(kinds, items, strict=True))


def _read_dict(kind: Any, value: Any, at: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(at, f"must be a group of keys, got {value!r}")
    key_kind, value_kind = get_args(kind)
    return {read_value(key_kind, key, at): read_value(value_kind, own, f"{at}.{key}") for key, own in value.items()}


def _as_list(value: Any, at: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SettingError(at, f"must be a list, such as [{value}]")
    return value


_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _read_plain(kind: type, value: Any, at: str) -> Any:
    if kind not in _EXPECTED:
        raise SettingError(at, f"a field of type {kind} cannot be set in a configuration")
    is_plain = isinstance(value, bool | int | float | str)
    try:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is str and is_plain:
            return str(value)
        if kind in (int, float) and is_plain and not isinstance(value, bool):
            number = kind(value)
            if kind is float or isinstance(value, str) or number == value:  # a fraction is no whole number
                return number
    except ValueError:
        pass
    got = "null" if value is None else repr(value)
    raise SettingError(at, f"must be {_EXPECTED[kind]}, got {got}")
