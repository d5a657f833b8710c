"""A mapping in, one frozen dataclass out, or one line saying which dotted key is wrong."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from budgetrl.core.checks import nearest
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.runs.identity import flatten

T = TypeVar("T")


class ConfigError(RequestError):
    """A key or value of the configuration is wrong; the message names the dotted key."""


def build(part: type[T], node: Any, at: str) -> T:
    """Build a dataclass from exactly its own keys, with values of exactly its types.

    Raises:
        ConfigError: with the dotted key below `at`, for an unknown key, a mistyped value, or one that the part refuses.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(f"{at}: must be a group of keys, got {node!r}")
    nested = _nested(part)
    with _explained(part, node, at):
        _merged(part, {key: value for key, value in node.items() if key not in nested})  # a part may repeat them
    for name, kind in nested.items():
        build(kind, node.get(name, {}), _join(at, name))  # for errors that name the whole path
    with _explained(part, node, at):
        return _with_tuples(OmegaConf.to_object(_merged(part, node)))  # type: ignore[return-value]


def _merged(part: type, node: Mapping[str, Any]) -> Any:
    """The schema of a dataclass with the values of `node`."""
    schema = OmegaConf.structured(part)
    _unlock(schema)
    return OmegaConf.merge(schema, dict(node))


@contextmanager
def _explained(part: type, node: Mapping[str, Any], at: str) -> Iterator[None]:
    """OmegaConf's complaints, and a part's own refusal, as a ConfigError."""
    try:
        yield
    except ConfigError:  # of a part within, which names its key already
        raise
    except ConfigKeyError as error:
        raise ConfigError(_unknown_key(OmegaConf.structured(part), str(error.full_key), at)) from None
    except OmegaConfBaseException as error:
        raise ConfigError(_mistyped(error, node, at)) from None
    except SettingError as error:
        raise ConfigError(error.message.below(at)) from None
    except ValueError as error:  # of a part of the user's own, which may say what it likes
        raise ConfigError(Message(at, str(error))) from None


def to_plain(node: Any) -> dict[str, Any]:
    """An OmegaConf node as dictionaries and lists, interpolations resolved. Raises ConfigError if that fails."""
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}") from None


def _nested(part: type) -> dict[str, type]:
    hints = get_type_hints(part)
    return {f.name: hints[f.name] for f in dataclasses.fields(part) if dataclasses.is_dataclass(hints[f.name])}


def _unlock(node: Any) -> None:
    """OmegaConf makes frozen dataclasses read-only, nested ones even to a merge."""
    if isinstance(node, DictConfig):
        OmegaConf.set_readonly(node, False)
        for key in node:
            _unlock(node._get_node(key))


def _with_tuples(part: Any) -> Any:
    """OmegaConf hands tuples back as lists."""
    hints = get_type_hints(type(part))
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        kinds = (hints[name], *get_args(hints[name]))  # of `tuple[int, ...] | None`, too
        if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds):
            changed[name] = tuple(value)
        elif dataclasses.is_dataclass(value) and (rebuilt := _with_tuples(value)) is not value:
            changed[name] = rebuilt
    return dataclasses.replace(part, **changed) if changed else part


def _mistyped(error: OmegaConfBaseException, node: Mapping[str, Any], at: str) -> str:
    key = str(error.full_key or "")
    if "is not a ListConfig" in str(error):
        return f"{_join(at, key)}: must be a list, such as [{flatten(node)[key]}]"
    return f"{_join(at, key)}: {_first_line(error)}"


def _unknown_key(schema: DictConfig, key: str, at: str) -> str:
    above, _, wrong = key.rpartition(".")
    siblings = OmegaConf.select(schema, above) if above else schema
    place = _join(at, above)
    names = [_join(place, str(name)) for name in siblings]
    return f"{_join(place, wrong)}: there is no such key; {nearest(_join(place, wrong), names)}"


def _join(above: str, below: str) -> str:
    return f"{above}.{below}" if above and below else above or below


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
