"""Convert values from YAML, JSON and the command line to the types of dataclass fields."""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from budgetrl.core.errors import SettingError


def read_value(kind: Any, value: Any, at: str) -> Any:
    """Return a value converted to the type `kind`: lists become tuples where needed, and numbers may be strings.

    >>> read_value(tuple[int, ...], [1, "2"], "stage.budgets")
    (1, 2)

    Raises:
        SettingError: The value has another type; the error names the key `at`.
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
    """Return the value converted to the first type of a union that accepts it. Most unions are `T | None`."""
    choices = [choice for choice in get_args(kind) if choice is not types.NoneType]
    if value is None and len(choices) < len(get_args(kind)):
        return None
    # The last type is tried outside the loop, so that its error reaches the user.
    for choice in choices[:-1]:
        try:
            return read_value(choice, value, at)
        except SettingError:
            continue
    return read_value(choices[-1], value, at)


def _read_tuple(kind: Any, value: Any, at: str) -> tuple[Any, ...]:
    items, item_kinds = _as_list(value, at), get_args(kind)
    if len(item_kinds) == 2 and item_kinds[1] is Ellipsis:  # tuple[int, ...]: any number of items
        item_kinds = item_kinds[:1] * len(items)
    if len(items) != len(item_kinds):
        raise SettingError(at, f"must be a list of {len(item_kinds)}, got {list(items)}")
    return tuple(read_value(item_kind, item, at) for item_kind, item in zip(item_kinds, items, strict=True))


def _read_dict(kind: Any, value: Any, at: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(at, f"must be a group of keys, got {value!r}")
    key_kind, value_kind = get_args(kind)
    result: dict[Any, Any] = {}
    for key, item in value.items():
        result[read_value(key_kind, key, at)] = read_value(value_kind, item, f"{at}.{key}")
    return result


def _as_list(value: Any, at: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SettingError(at, f"must be a list, such as [{value}]")
    return value


_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _read_plain(kind: type, value: Any, at: str) -> Any:
    if kind not in _EXPECTED:
        raise SettingError(at, f"a field of type {kind} cannot be set in a configuration")
    is_plain = isinstance(value, bool | int | float | str)  # neither null, nor a list, nor a group
    try:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is str and is_plain:
            return str(value)
        if kind in (int, float) and is_plain and not isinstance(value, bool):
            number = kind(value)
            if kind is float or isinstance(value, str) or number == value:  # int(1.5) is 1: reject it
                return number
    except ValueError:  # a string that is not a number
        pass
    got = "null" if value is None else repr(value)
    raise SettingError(at, f"must be {_EXPECTED[kind]}, got {got}")
