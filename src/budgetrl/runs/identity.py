"""Which settings identify a run: all except those that change only where or how fast it runs."""

import json
import re
from collections.abc import Mapping
from typing import Any

NOT_IDENTITY = re.compile(
    r"(run|launch|tracking)\..*|mode|stage\.shared|rollout\.(batch_size|url|concurrency|retries|timeout|api_key_env)"
)
"""Keys that change where or how fast a run executes, but not its results."""


def identity(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat keys and values that determine a run's results.

    Two configurations with equal identities describe the same run.
    """
    # A round trip through JSON turns tuples into lists, so that a configuration equals its copy read from YAML.
    plain = json.loads(json.dumps(mapping))
    return {key: value for key, value in flatten(plain).items() if not NOT_IDENTITY.fullmatch(key)}


def flatten(mapping: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a nested mapping as one level with dotted keys. An empty group is kept as a value.

    >>> flatten({"a": {"b": 1, "c": {}}, "d": 2})
    {'a.b': 1, 'a.c': {}, 'd': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat
