"""JSONL files: one JSON object a line, UTF-8; empty lines do not count."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.data.rows import BadRowError, Row, collect
from budgetrl.data.spec import DataError, DatasetSettings, Loaded, Split


def load(spec: DatasetSettings, path: str, key: str) -> Loaded:
    """Read problems from a file; `key` is the option that named it. Raises DataError with file and line."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"dataset.{key}: there is no file {path}")
    rows = (Row(_where(file, n), f"{file.stem}-{n}", partial(_object, line)) for n, line in _numbered(file))
    return collect(rows, spec, str(path))


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, and where each stands. Raises RequestError, naming file and line, for what is none."""
    for number, line in _numbered(path):
        where = _where(path, number)
        try:
            row = _object(line)
        except BadRowError as error:
            raise RequestError(f"{where}: {error}; each line is one JSON object") from None
        yield where, row


def rows_of(spec: DatasetSettings, split: Split) -> int | None:
    """How many rows the file of a split has; None where there is no such file."""
    path = spec.local_file(split)
    return count_rows(path) if path and path.is_file() else None


def count_rows(path: Path) -> int:
    """Lines that are not empty; a file that is not there has none."""
    return sum(1 for _ in _numbered(path)) if path.is_file() else 0


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, as bytes, so that one that is not UTF-8 is one bad row; numbered from 1."""
    with path.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _where(path: Path, number: int) -> str:
    return f"{path}, line {number}"


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except ValueError as error:
        raise BadRowError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise BadRowError(f"not a JSON object but {type(row).__name__}")
    return row
