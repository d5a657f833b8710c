"""The checkpoints in this package: their names and folders. Does not import torch."""

from pathlib import Path

from budgetrl.formats.learned import read_learned_format

CHECKPOINTS = Path(__file__).parent / "checkpoints"
FAMILIES = ("mini", "mini_tradeoff")
"""One family of checkpoints per generated task. `model.path=mini` selects a checkpoint by the response format."""
BASE, COLD_START, TRAINED = "base", "cold_start", "trained"
"""The checkpoints of a family (`mini/base`), from `stage=pretrain`, then `stage=cold_start`, then `stage=grpo`."""


def is_family(path: str) -> bool:
    """Return whether a model path is the name of a family."""
    return path in FAMILIES


def is_shipped(path: str) -> bool:
    """Return whether a model path names a family or one of its checkpoints."""
    return is_family(path) or path in shipped_names()


def shipped_names() -> list[str]:
    """Return the names of all checkpoints, such as `mini/trained`."""
    names: list[str] = []
    for family in FAMILIES:
        for checkpoint in (BASE, COLD_START, TRAINED):
            if (CHECKPOINTS / family / checkpoint).is_dir():
                names.append(f"{family}/{checkpoint}")
    return names


def shipped_folder(path: str, format_name: str) -> Path:
    """Return the folder of a family or checkpoint.

    For a family it is the cold start if that learned the given format, and the base model for any other format.
    """
    if not is_family(path):
        return CHECKPOINTS / path
    cold_start = CHECKPOINTS / path / COLD_START
    learned = read_learned_format(cold_start)
    return cold_start if learned and learned.format.name == format_name else CHECKPOINTS / path / BASE
