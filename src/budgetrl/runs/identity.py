"""What makes two runs the same: their settings, but for those that change only where and how fast a run happens."""

import json
import re
from collections.abc import Mapping
from typing import Any

NOT_IDENTITY = re.compile(
    r"(run|launch|tracking)\..*|mode|stage\.shared|rollout\.(batch_size|url|concurrency|retries|timeout|api_key_env)"
)
"""Keys that change where and how fast a run happens, not what comes out of it."""


def identity(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The flat keys and values that make a run what it is; equal for runs with equal results."""
    plain = json.loads(json.dumps(mapping))
    return {key: value for key, value in flatten(plain).items() if not NOT_IDENTITY.fullmatch(key)}


def flatten(mapping: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted keys to values; an empty group stays as itself.

    >>> flatten({"a": {"b": 1, "c": {}}, "d": 2})
    {'a.b': 1, 'a.c': {}, 'd': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{above}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value})
    return flat
