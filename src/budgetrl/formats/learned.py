"""`budgetrl.json`: what a checkpoint says about how to ask it, beside its weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError, SettingError
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import make_format

LEARNED_FILE = "budgetrl.json"
"""The file in a checkpoint's folder."""
VERSION = 1
"""The version of the file's layout."""
LENGTH_KINDS = ("body", "response")
"""Which tokens may count as length: those of the body, or all but the end token (`model.length`)."""


@dataclass(frozen=True)
class LearnedFormat:
    """How a checkpoint was trained to respond."""

    format: ResponseFormat
    """The format that it was asked in last, with all that is needed to ask in it."""
    length: str
    """Which tokens counted as its length: `model.length`."""


def write_learned_format(folder: Path, learned: LearnedFormat) -> None:
    """Write `budgetrl.json` into a folder."""
    content = {"version": VERSION, "format": asdict(learned.format), "length": learned.length}
    (folder / LEARNED_FILE).write_text(json.dumps(content, indent=2) + "\n")


def read_learned_format(folder: Path) -> LearnedFormat | None:
    """What a checkpoint's folder says; None if there is no `budgetrl.json` in it.

    Raises RequestError for a file that cannot be read, such as one whose format is in a package that cannot be
    imported here.
    """
    path = folder / LEARNED_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        version, fields, length = content["version"], dict(content["format"]), str(content["length"])
        name = str(fields.pop("name"))
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"model.path: {path} is not what budgetrl writes beside a checkpoint ({error})") from None
    if length not in LENGTH_KINDS:
        raise RequestError(f"model.path: {path} has length {length!r}, which is none of {', '.join(LENGTH_KINDS)}")
    if version != VERSION:
        raise RequestError(f"model.path: {path} is of version {version}, and this budgetrl reads {VERSION}; update it")
    try:
        return LearnedFormat(make_format(name, fields), length)
    except SettingError as error:
        wrong = error.message
        why = wrong.text if wrong.key == "name" else f"{wrong.key}: {wrong.text}"
        hint = error.message.hint or "or name another format with stage.format"
        raise RequestError(f"model.path: {path} names the response format {name}: {why}; {hint}") from None
