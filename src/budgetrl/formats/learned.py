"""`budgetrl.json`: the file in a checkpoint folder that records which response format the model has learned."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import make_format

LEARNED_FILE = "budgetrl.json"
"""Name of the file in a checkpoint folder."""
VERSION = 1
"""Version of the file's schema."""
LENGTH_KINDS = ("body", "response")
"""Which tokens count as length (`model.length`): those of the body, or all except the end token."""


@dataclass(frozen=True)
class LearnedFormat:
    """The response format and the definition of length that a checkpoint was trained with."""

    format: ResponseFormat
    """The format of the last training stage, with all its settings."""
    length: str
    """Which tokens counted as length: `model.length`."""


def write_learned_format(folder: Path, learned: LearnedFormat) -> None:
    """Write `budgetrl.json` to a checkpoint folder.

    Example: `{"version": 1, "format": {"name": "budget", "instruction": "...", ...}, "length": "body"}`.
    """
    content = {"version": VERSION, "format": asdict(learned.format), "length": learned.length}
    (folder / LEARNED_FILE).write_text(json.dumps(content, indent=2) + "\n")


def read_learned_format(folder: Path) -> LearnedFormat | None:
    """Read `budgetrl.json` from a checkpoint folder. None if there is no such file.

    Raises:
        RequestError: if the file is invalid, or its format is a class that cannot be imported.
    """
    path = folder / LEARNED_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        version = content["version"]
        fields = dict(content["format"])
        name = str(fields.pop("name"))
        length = str(content["length"])
    except (ValueError, KeyError, TypeError) as error:
        raise _error(f"{path} is not a valid {LEARNED_FILE} ({error})", "restore or delete it") from None
    if length not in LENGTH_KINDS:
        raise _error(f"{path} has length {length!r}, which is not one of {', '.join(LENGTH_KINDS)}", "correct it")
    if version != VERSION:
        raise _error(f"{path} has version {version}, but this budgetrl reads version {VERSION}", "update budgetrl")
    try:
        return LearnedFormat(make_format(name, fields), length)
    except SettingError as error:
        # The error is about a key of the file, such as `close`; to the user it is about model.path.
        wrong = error.message
        if wrong.key == "name":
            # Setting stage.format alone does not help: the file is read in any case.
            why, hint = wrong.text, wrong.hint or "or delete the file and set stage.format"
        else:
            why, hint = f"{wrong.key}: {wrong.text}", wrong.hint or "correct it"
        raise _error(f"{path} names the response format {name}: {why}", hint) from None


def _error(text: str, hint: str) -> RequestError:
    return RequestError(Message("model.path", text, hint))
