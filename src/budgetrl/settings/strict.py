"""Builds frozen dataclasses from mappings. Every mistake is an error of one line that names the dotted key."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from budgetrl.core.checks import suggest_name
from budgetrl.core.classes import is_unannotated
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.core.typed import read_value
from budgetrl.settings.auto import AUTO, Rule, auto_rule

T = TypeVar("T")


class ConfigError(RequestError):
    """A key or value of the configuration is wrong. The message names the dotted key."""


def build(cls: type[T], node: Any, at: str, auto_keys: dict[str, Rule] | None = None) -> T:
    """Build an instance of a dataclass from a mapping, with strict checks of keys and types.

    Args:
        cls: the dataclass. Fields that are dataclasses themselves are built from nested mappings.
        node: the mapping; it may leave out fields that have defaults.
        at: the dotted key of the mapping, such as `stage.optimizer`; used in messages.
        auto_keys: if given, fields declared with `may_be_auto` accept `auto`. Their dotted keys are added to this
            dictionary, and the rule's placeholder becomes the value.

    Raises:
        ConfigError: for an unknown key, a missing value, a value of the wrong type, or one that the dataclass rejects.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(Message(at, f"must be a group of keys, got {node!r}"))
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in node:
        if is_unannotated(cls, str(key)) and key not in fields:
            text = f"{cls.__name__} gives {key} no type, so it is not a field"
            raise ConfigError(Message(_join(at, str(key)), text, f"write `{key}: <type> = ...` in the class"))
        if key not in fields:
            raise unknown_key(_join(at, str(key)), [_join(at, name) for name in fields])
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in node and not has_default:
            raise ConfigError(Message(_join(at, name), "must be given"))

    # Plain values are read before nested groups: a pipeline passes some of its keys down to its parts
    # (stage.grpo.steps = ${stage.steps}), and a wrong value should be reported at the key that the user set.
    types = get_type_hints(cls)
    values: dict[str, Any] = {}
    nested = [key for key in node if dataclasses.is_dataclass(types[key])]
    plain = [key for key in node if key not in nested]
    for key in plain + nested:
        value, dotted, rule = node[key], _join(at, key), auto_rule(fields[key])
        if value == AUTO and rule and auto_keys is not None:
            auto_keys[dotted] = rule
            values[key] = rule.value
        elif key in nested:
            values[key] = build(types[key], value, dotted, auto_keys)
        else:
            values[key] = _read(types[key], value, dotted)

    # The dataclass checks its own values in __post_init__ and names its field; the group is added here.
    try:
        return cls(**values)
    except ConfigError:  # already has the full dotted key
        raise
    except SettingError as error:
        raise ConfigError(error.message.below(at)) from None
    except ValueError as error:  # from a user's own class, which need not know SettingError
        raise ConfigError(Message(at, str(error))) from None


def unknown_key(key: str, names: list[str]) -> ConfigError:
    """Return the error about a key that is not in `names`, with a suggestion of the key that was probably meant."""
    return ConfigError(Message(key, "there is no such key", suggest_name(key, names)))


def to_plain(node: Any) -> dict[str, Any]:
    """Return an OmegaConf node as dictionaries and lists, with interpolations resolved.

    Raises:
        ConfigError: if an interpolation cannot be resolved.
    """
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:  # its text has several lines; the first one says what is wrong
        raise ConfigError(Message(str(error.full_key), str(error).splitlines()[0])) from None


def _read(expected: Any, value: Any, at: str) -> Any:
    """Return a value converted to the expected type. Raises ConfigError about the dotted key `at` if it has another."""
    try:
        return read_value(expected, value, at)
    except SettingError as error:
        raise ConfigError(error.message) from None


def _join(above: str, below: str) -> str:
    """Join two parts of a dotted key, either of which may be empty."""
    return f"{above}.{below}" if above and below else above or below
