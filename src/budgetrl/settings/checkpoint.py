"""What is on this machine of the model that `model.path` names, read without torch or transformers."""

import re
from pathlib import Path

from budgetrl.core.checks import nearest
from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.data.mini.shipped import (
    BASE,
    CHECKPOINTS,
    COLD_START,
    is_family,
    is_shipped,
    shipped_folder,
    shipped_names,
)
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LEARNED_FILE, LearnedFormat, read_learned_format
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.strict import ConfigError


def is_remote(model: ModelSettings) -> bool:
    """Whether the path is a name on the Hub rather than a folder or a shipped checkpoint."""
    return not is_shipped(model.path) and not Path(model.path).expanduser().is_dir()


def local_folder(model: ModelSettings) -> Path | None:
    """Where the model's files are on this machine; None for a model of the Hub that was not downloaded yet.

    Raises RequestError for a folder, or a shipped checkpoint, that is not there.
    """
    if is_family(model.path):
        return CHECKPOINTS / model.path / BASE
    if is_shipped(model.path):
        return CHECKPOINTS / model.path
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        return folder
    if is_family(model.path.partition("/")[0]):
        raise RequestError(
            f"model.path: there is no shipped checkpoint {model.path}; {nearest(model.path, shipped_names())}"
        )
    if model.path.startswith(("/", ".", "~")):
        raise RequestError(f"model.path: there is no folder {model.path}")
    return _cached(model, "config.json")


def path_error(model: ModelSettings) -> Message | None:
    """What is wrong with a `model.path` that names nothing on this machine and cannot be a name on the Hub either.

    For a run that is to start now: a plan may be of a checkpoint that another run is still to make.
    """
    if not is_remote(model) or re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model.path):
        return None
    return Message("model.path", f"{model.path} is neither a folder that is there nor a name on the Hub")


def learned_by(model: ModelSettings) -> LearnedFormat | None:
    """What the checkpoint's `budgetrl.json` says that it learned; None where there is none on this machine.

    Of a family of shipped checkpoints it is what the cold start learned. ConfigError for a file that cannot be read.
    """
    if is_family(model.path):
        return _read(CHECKPOINTS / model.path / COLD_START)
    if is_shipped(model.path):
        return _read(CHECKPOINTS / model.path)
    folder = Path(model.path).expanduser()
    if not folder.is_dir() and not model.path.startswith(("/", ".", "~")):
        folder = _cached(model, LEARNED_FILE) or folder
    return _read(folder)


def learned_for_format(model: ModelSettings, asked: ResponseFormat) -> LearnedFormat | None:
    """What the one checkpoint learned that is loaded for a format: a family of shipped ones has several."""
    if is_family(model.path):
        return _read(shipped_folder(model.path, asked.name))
    return learned_by(model)


def _read(folder: Path) -> LearnedFormat | None:
    try:
        return read_learned_format(folder)
    except RequestError as error:
        raise ConfigError(str(error)) from None


def _cached(model: ModelSettings, file: str) -> Path | None:
    """The folder in the Hub's cache that holds this file of the model, if it is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model.path, file, revision=model.revision)
    except HFValidationError:  # a folder that another run is still to make, or a wrong name: see `path_error`
        return None
    return Path(found).parent if isinstance(found, str) else None
