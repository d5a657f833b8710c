"""Reading JSONL files: one JSON object per line, UTF-8. Empty lines are skipped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message


class NotAnObjectError(ValueError):
    """A line is not a JSON object. The message says why."""


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the location (file and line number) and the content of each object.

    Raises:
        RequestError: A line is not a JSON object. The message names the file and the line.
    """
    for number, line in numbered_lines(path):
        location = line_location(path, number)
        try:
            row = parse_object(line)
        except NotAnObjectError as error:
            raise RequestError(Message(location, str(error), "each line must be one JSON object")) from None
        yield location, row


def count_lines(path: Path) -> int:
    """Return the number of lines that are not empty."""
    return sum(1 for _ in numbered_lines(path))


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and the content of each line that is not empty."""
    # Bytes, not text: a line that is not UTF-8 is then an error of that line alone.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def line_location(path: Path, number: int) -> str:
    """Return how messages name a line of a file."""
    return f"{path}, line {number}"


def parse_object(line: bytes) -> dict[str, Any]:
    """Parse a line as a JSON object.

    >>> parse_object(b'{"id": 1}')
    {'id': 1}

    Raises:
        NotAnObjectError: The line is not UTF-8, not JSON, or not an object.
    """
    try:
        row = json.loads(line.decode("utf-8-sig"))  # -sig: some editors write a byte order mark
    except UnicodeDecodeError as error:
        raise NotAnObjectError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise NotAnObjectError(f"not JSON ({error.msg} at character {error.pos + 1})") from error
    if not isinstance(row, dict):
        raise NotAnObjectError(f"not a JSON object but {type(row).__name__}")
    return row
