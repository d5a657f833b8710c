"""JSONL files: one JSON object a line, UTF-8; empty lines do not count."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message


class NotAnObjectError(ValueError):
    """Why a line is not a JSON object."""


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, and where each stands. Raises RequestError, naming file and line, for any other line."""
    for number, line in numbered_lines(path):
        where = line_location(path, number)
        try:
            row = parse_object(line)
        except NotAnObjectError as error:
            raise RequestError(Message(where, str(error), "each line must be one JSON object")) from None
        yield where, row


def count_lines(path: Path) -> int:
    """How many lines of a file are not empty."""
    return sum(1 for _ in numbered_lines(path))


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, numbered from 1. They are bytes, so that one that is not UTF-8 spoils no other."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def line_location(path: Path, number: int) -> str:
    """How messages name a line of a file."""
    return f"{path}, line {number}"


def parse_object(line: bytes) -> dict[str, Any]:
    """The object in a line. Raises NotAnObjectError.

    >>> parse_object(b'{"id": 1}')
    {'id': 1}
    """
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotAnObjectError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise NotAnObjectError(f"not JSON ({error.msg} at character {error.pos + 1})") from error
    if not isinstance(row, dict):
        raise NotAnObjectError(f"not a JSON object but {type(row).__name__}")
    return row
