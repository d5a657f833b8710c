"""A mapping in, one frozen dataclass out, or one line saying which dotted key is wrong."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from budgetrl.core.checks import nearest
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.core.typed import read_value
from budgetrl.settings.auto import AUTO, Rule, auto_rule

T = TypeVar("T")


class ConfigError(RequestError):
    """A key or value of the configuration is wrong; the message names the dotted key."""


def build(part: type[T], node: Any, at: str, auto_keys: dict[str, Rule] | None = None) -> T:
    """Build a dataclass from exactly its own keys, with values of exactly its types.

    Where `auto_keys` is given, a field that may be `auto` may say so: its key is noted there, and a number stands in.

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
        value, dotted, rule = node[key], _join(at, key), auto_rule(fields[key])
        if value == AUTO and rule and auto_keys is not None:
            auto_keys[dotted] = rule
            values[key] = rule.value
        elif key in nested:
            values[key] = build(kinds[key], value, dotted, auto_keys)
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
    """The value of a field of this type. Raises ConfigError with the dotted key `at` for one of another type."""
    try:
        return read_value(kind, value, at)
    except SettingError as error:
        raise ConfigError(error.message) from None


def _join(above: str, below: str) -> str:
    return f"{above}.{below}" if above and below else above or below
