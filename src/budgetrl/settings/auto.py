"""Settings that may be `auto` in a request: a number that fits the model and the machine takes its place."""

import dataclasses
from dataclasses import field
from enum import Enum, unique
from typing import Any, TypeVar

T = TypeVar("T")
AUTO = "auto"


@unique
class Rule(Enum):
    """What an automatic setting is to fit. Rules are settled in this order, each with what those before it came to.

    The value is a number that stands in while other rules are worked out; with ZeRO stage 3 every choice to offload
    can be loaded.
    """

    COMPLETION = 8192
    """Tokens of a completion: as many as the model's context has room for, up to this (ours)."""
    ZERO_STAGE = 3
    """How far training state is cut up."""
    MICRO_BATCH = 16384
    """Tokens of a micro-batch: as memory allows, up to this, which is enough to keep a GPU busy (ours)."""
    ROWS = 128
    """Completions generated at once: as memory allows, up to this (ours)."""


def may_be_auto(default: int, rule: Rule) -> Any:
    """A dataclass field that a request may set to `auto`, which `rule` then settles."""
    return field(default=default, metadata={AUTO: rule})


def auto_rule(setting: dataclasses.Field[Any]) -> Rule | None:
    """The rule of a field that may be `auto`; None for one that may not."""
    return setting.metadata.get(AUTO)


def with_values(part: T, numbers: dict[str, int], above: str = "") -> T:
    """A copy of a tree of dataclasses with other values at some dotted keys. Each part is made, and checked, once."""
    changes: dict[str, Any] = {}
    for setting in dataclasses.fields(part):  # type: ignore[arg-type]
        key, value = f"{above}{setting.name}", getattr(part, setting.name)
        if key in numbers:
            changes[setting.name] = numbers[key]
        elif dataclasses.is_dataclass(value) and any(name.startswith(f"{key}.") for name in numbers):
            changes[setting.name] = with_values(value, numbers, f"{key}.")
    return dataclasses.replace(part, **changes) if changes else part  # type: ignore[type-var]
