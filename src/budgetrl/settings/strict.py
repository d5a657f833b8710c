"""A mapping in, one frozen dataclass out, or one line saying which dotted key is wrong."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from budgetrl.core.checks import nearest
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.settings.auto import AUTO, Rule, rule_of

T = TypeVar("T")


class ConfigError(RequestError):
    """A key or value of the configuration is wrong; the message names the dotted key."""


def build(part: type[T], node: Any, at: str, open_keys: dict[str, Rule] | None = None) -> T:
    """Build a dataclass from exactly its own keys, with values of exactly its types.

    Where `open_keys` is given, a field that may be `auto` may say so: its key is noted there, and a number stands in.

    Raises:
        ConfigError: with the dotted key below `at`, for an unknown key, a mistyped value, or one that the part refuses.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(Message(at, f"must be a group of keys, got {node!r}"))
    fields = {f.name: f for f in dataclasses.fields(part) if f.init}  # type: ignore[arg-type]
    for key in node:
        if key not in fields:
            raise unknown_key(_join(at, str(key)), [_join(at, name) for name in fields])
    for name, field in fields.items():
        if name not in node and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(Message(_join(at, name), "must be given"))
    kinds = get_type_hints(part)
    values: dict[str, Any] = {}
    nested = [key for key in node if dataclasses.is_dataclass(kinds[key])]
    plain = [key for key in node if key not in nested]
    for key in plain + nested:  # a part may repeat a value of the whole, whose key is then the one to name
        value, dotted, rule = node[key], _join(at, key), rule_of(fields[key])
        if value == AUTO and rule and open_keys is not None:
            open_keys[dotted] = rule
            values[key] = rule.value
        elif key in nested:
            values[key] = build(kinds[key], value, dotted, open_keys)
        else:
            values[key] = _read(kinds[key], value, dotted)
    try:
        return part(**values)
    except ConfigError:  # of a part within, which names its key already
        raise
    except SettingError as error:
        raise ConfigError(error.message.below(at)) from None
    except ValueError as error:  # of a part of the user's own, which may say what it likes
        raise ConfigError(Message(at, str(error))) from None


def unknown_key(key: str, names: list[str]) -> ConfigError:
    """The error about a key that is none of `names`, with the name that was probably meant."""
    return ConfigError(Message(key, "there is no such key", nearest(key, names)))


def to_plain(node: Any) -> dict[str, Any]:
    """An OmegaConf node as dictionaries and lists, interpolations resolved. Raises ConfigError if that fails."""
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(Message(str(error.full_key), str(error).splitlines()[0])) from None


def _read(kind: Any, value: Any, at: str) -> Any:
    """A value as a field of this type holds it. Numbers may come as text, as from an environment variable."""
    if kind is Any:
        return value
    if get_origin(kind) in (Union, types.UnionType):
        return _read_one_of(kind, value, at)
    if get_origin(kind) is tuple:
        return _read_tuple(kind, value, at)
    if get_origin(kind) is list:
        (item_kind,) = get_args(kind)
        return [_read(item_kind, item, at) for item in _as_list(value, at)]
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
            return _read(choice, value, at)
        except ConfigError:
            continue
    return _read(choices[-1], value, at)


def _read_tuple(kind: Any, value: Any, at: str) -> tuple[Any, ...]:
    items, kinds = _as_list(value, at), get_args(kind)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_read(kinds[0], item, at) for item in items)
    if len(items) != len(kinds):
        raise ConfigError(Message(at, f"must be a list of {len(kinds)}, got {list(items)}"))
    return tuple(_read(own, item, at) for own, item in zip(kinds, items, strict=True))


def _read_dict(kind: Any, value: Any, at: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(Message(at, f"must be a group of keys, got {value!r}"))
    key_kind, value_kind = get_args(kind)
    return {_read(key_kind, key, at): _read(value_kind, own, _join(at, str(key))) for key, own in value.items()}


def _as_list(value: Any, at: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(Message(at, f"must be a list, such as [{value}]"))
    return value


_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _read_plain(kind: type, value: Any, at: str) -> Any:
    if kind not in _EXPECTED:
        raise ConfigError(Message(at, f"a field of type {kind} cannot be set in a configuration"))
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
    raise ConfigError(Message(at, f"must be {_EXPECTED[kind]}, got {got}"))


def _join(above: str, below: str) -> str:
    return f"{above}.{below}" if above and below else above or below
