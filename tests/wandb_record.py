"""Reads W&B's offline record: a LevelDB-style log of `wandb.proto` records.

A seven-byte file header (`:W&B`, magic number, version), then blocks of 32 KiB. A record is one or more
chunks, each with a seven-byte header: checksum (4), length (2), kind (1; whole, first, middle or last).
Chunks never cross a block; fewer than seven bytes at a block's end are padding.
"""

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32 * 1024
HEADER = 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Any]:
    """The `wandb_internal_pb2.Record`s of a .wandb file, in order."""
    data = path.read_bytes()
    assert data[:4] == b":W&B", f"{path} is no W&B record"
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        left_in_block = BLOCK - position % BLOCK
        if left_in_block < HEADER:
            position += left_in_block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        assert kind in (WHOLE, FIRST, MIDDLE, LAST)
        chunk = data[position + HEADER : position + HEADER + length]
        parts = chunk if kind in (WHOLE, FIRST) else parts + chunk
        position += HEADER + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
            record.ParseFromString(parts)
            yield record


def only(records: list[Any], kind: str) -> Any:
    """The one record of its kind, such as run or exit."""
    (found,) = [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]
    return found


def history(records: list[Any]) -> list[dict[str, Any]]:
    """The logged rows, without what W&B adds itself (keys that start with an underscore)."""
    rows = [r.history for r in records if r.WhichOneof("record_type") == "history"]
    return [{k: v for k, v in _mapping(row.item).items() if k[0] != "_"} for row in rows]


def config(records: list[Any]) -> dict[str, Any]:
    """The configuration the run was started with."""
    return {k: v for k, v in _mapping(only(records, "run").config.update).items() if k != "_wandb"}


def step_axes(records: list[Any]) -> dict[str, str]:
    """Which metric each group of metrics is drawn over."""
    metrics = [r.metric for r in records if r.WhichOneof("record_type") == "metric"]
    return {m.glob_name: m.step_metric for m in metrics if m.step_metric}


def summary(records: list[Any]) -> dict[str, Any]:
    """The summary's last state."""
    updates = [r.summary for r in records if r.WhichOneof("record_type") == "summary"]
    return _mapping(item for update in updates for item in update.update)


def _mapping(items: Iterable[Any]) -> dict[str, Any]:
    """The items as one dictionary; an item of a nested mapping names the path to it."""
    result: dict[str, Any] = {}
    for item in items:
        *outer, key = [item.key] if item.key else item.nested_key
        inner = result
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[key] = json.loads(item.value_json)
    return result
