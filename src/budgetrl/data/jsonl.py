"""Problems from a JSONL file: one JSON object a line, UTF-8; empty lines do not count."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from budgetrl.data.rows import BadRowError, Row, collect
from budgetrl.data.spec import DataError, DatasetSpec, Loaded


def load(spec: DatasetSpec, path: str, key: str) -> Loaded:
    """Read a file; `key` is the option that named it. Raises DataError with file and line."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"dataset.{key}: there is no file {path}")
    return collect(_rows(file), spec, str(path))


def _rows(file: Path) -> Iterator[Row]:
    with file.open("rb") as lines:  # bytes, so that a line that is not UTF-8 is one bad row
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield Row(f"{file}:{number}", f"{file.stem}-{number}", partial(_parse, line))


def _parse(line: bytes) -> Mapping[str, object]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except ValueError as error:
        raise BadRowError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise BadRowError(f"not a JSON object but {type(row).__name__}")
    return row
