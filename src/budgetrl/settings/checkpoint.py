"""Finds the local files of `model.path` and reads its `budgetrl.json`, without torch or transformers."""

import re
from pathlib import Path

from budgetrl.core.checks import suggest_name
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
    """Whether `model.path` is a name on the Hub rather than a local folder or a shipped checkpoint."""
    return not is_shipped(model.path) and not Path(model.path).expanduser().is_dir()


def local_folder(model: ModelSettings) -> Path | None:
    """Return the local folder of the model's files, or None for a Hub model that is not downloaded yet.

    Raises:
        RequestError: if there is no such folder or shipped checkpoint.
    """
    if is_family(model.path):
        return CHECKPOINTS / model.path / BASE
    if is_shipped(model.path):
        return CHECKPOINTS / model.path
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        return folder
    if is_family(model.path.partition("/")[0]):
        text = f"there is no shipped checkpoint {model.path}"
        raise RequestError(Message("model.path", text, suggest_name(model.path, shipped_names())))
    if model.path.startswith(("/", ".", "~")):  # cannot be a Hub name
        raise RequestError(Message("model.path", f"there is no folder {model.path}"))
    return _cached(model, "config.json")


def path_error(model: ModelSettings) -> Message | None:
    """Return an error if `model.path` is neither on this machine nor a possible Hub name (`name` or `owner/name`).

    Only for runs that start now. A plan may use a checkpoint that an earlier run has yet to write.
    """
    if not is_remote(model) or re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model.path):
        return None
    return Message("model.path", f"{model.path} is neither a folder on this machine nor a name on the Hub")


def learned_by(model: ModelSettings) -> LearnedFormat | None:
    """Return the content of the checkpoint's `budgetrl.json`, or None if there is no such file on this machine.

    For a family of shipped checkpoints (`mini`) it is the file of the family's cold start.

    Raises:
        ConfigError: if the file cannot be read.
    """
    if is_family(model.path):
        return _read(CHECKPOINTS / model.path / COLD_START)
    if is_shipped(model.path):
        return _read(CHECKPOINTS / model.path)
    folder = Path(model.path).expanduser()
    if not folder.is_dir() and not model.path.startswith(("/", ".", "~")):
        folder = _cached(model, LEARNED_FILE) or folder
    return _read(folder)


def learned_for_format(model: ModelSettings, fmt: ResponseFormat) -> LearnedFormat | None:
    """Return the `budgetrl.json` of the checkpoint that is loaded when the model is prompted in this format.

    Differs from `learned_by` only for a family of shipped checkpoints, where the format decides which one is loaded.
    """
    if is_family(model.path):
        return _read(shipped_folder(model.path, fmt.name))
    return learned_by(model)


def _read(folder: Path) -> LearnedFormat | None:
    try:
        return read_learned_format(folder)
    except RequestError as error:
        raise ConfigError(str(error)) from None


def _cached(model: ModelSettings, file: str) -> Path | None:
    """Return the folder of the local Hub cache that holds this file of the model, if it is cached."""
    # Imported here because most configurations (mini models, local folders) never need it.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model.path, file, revision=model.revision)
    except HFValidationError:  # not a Hub name: a folder that another run has yet to write, or an error (`path_error`)
        return None
    # try_to_load_from_cache returns a path, None, or a sentinel object for "known not to exist".
    return Path(found).parent if isinstance(found, str) else None
