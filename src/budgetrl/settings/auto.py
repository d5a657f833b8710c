"""Settings that may be `auto`: before a run starts, they are replaced by numbers that fit the model and the machine."""

import dataclasses
from dataclasses import field
from enum import Enum, unique
from typing import Any, TypeVar

T = TypeVar("T")
AUTO = "auto"


@unique
class Rule(Enum):
    """How the number for an `auto` setting is chosen (`planning.auto` computes it).

    The value is the upper limit (ours), and the placeholder until the number is computed. Rules are applied in the
    order listed here, because each one needs the results of those before it.
    """

    COMPLETION = 8192
    """Maximum tokens per completion: as many as the model's context allows, up to this number."""
    # Placeholder 3: ZeroSettings accepts every offload option at stage 3, so the config can be built.
    ZERO_STAGE = 3
    """ZeRO stage: 0 on one rank, 2 on several, 3 if memory is short or parameters are offloaded."""
    MICRO_BATCH = 16384
    """Tokens per micro-batch: as many as memory allows, up to this number, which is enough to keep a GPU busy."""
    ROWS = 128
    """Completions generated at the same time: as many as memory allows, up to this number."""


def may_be_auto(default: int, rule: Rule) -> Any:
    """Return a dataclass field that a request may set to `auto`; `rule` says which number replaces it."""
    return field(default=default, metadata={AUTO: rule})


def auto_rule(setting: dataclasses.Field[Any]) -> Rule | None:
    """Return the rule of a field that may be `auto`, or None if it may not."""
    return setting.metadata.get(AUTO)


def with_values(part: T, numbers: dict[str, int], above: str = "") -> T:
    """Return a copy of nested dataclasses with new values at some dotted keys, such as `stage.max_new_tokens`.

    All new values of one dataclass are set together, because its own checks may compare them with each other.
    """
    changes: dict[str, Any] = {}
    for setting in dataclasses.fields(part):  # type: ignore[arg-type]
        key, value = f"{above}{setting.name}", getattr(part, setting.name)
        if key in numbers:
            changes[setting.name] = numbers[key]
        elif dataclasses.is_dataclass(value) and any(name.startswith(f"{key}.") for name in numbers):
            changes[setting.name] = with_values(value, numbers, f"{key}.")
    return dataclasses.replace(part, **changes) if changes else part  # type: ignore[type-var]
