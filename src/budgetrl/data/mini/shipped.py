"""The shipped checkpoints: which folder a name stands for, and what it learned. Reads files alone."""

from pathlib import Path

from budgetrl.formats.learned import read_learned_format

CHECKPOINTS = Path(__file__).parent / "checkpoints"
FAMILIES = ("mini", "mini_tradeoff")
"""One for each generated task. A family's name alone stands for its base or its cold start, as the format asks."""
BASE, COLD_START, TRAINED = "base", "cold_start", "trained"
"""Its checkpoints, `mini/base` and so on: from `stage=pretrain`, then `stage=cold_start`, then `stage=grpo`."""


def is_family(path: str) -> bool:
    """Whether a model's path is a family's name alone."""
    return path in FAMILIES


def is_shipped(path: str) -> bool:
    """Whether a model's path names a family or one of its checkpoints."""
    return is_family(path) or path in shipped_names()


def shipped_names() -> list[str]:
    """The single checkpoints, such as `mini/trained`."""
    names = []
    for family in FAMILIES:
        for checkpoint in (BASE, COLD_START, TRAINED):
            if (CHECKPOINTS / family / checkpoint).is_dir():
                names.append(f"{family}/{checkpoint}")
    return names


def shipped_folder(path: str, format_name: str) -> Path:
    """The folder of a shipped name for a model that is asked in a format.

    Of a family that is the cold start in the format that it learned, and the base model in any other.
    """
    if not is_family(path):
        return CHECKPOINTS / path
    cold_start = CHECKPOINTS / path / COLD_START
    learned = read_learned_format(cold_start)
    return cold_start if learned and learned.format.name == format_name else CHECKPOINTS / path / BASE
