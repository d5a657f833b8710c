"""What a model's own configuration says of it, before its weights are read."""

from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.core.errors import RequestError
from budgetrl.settings.model import MINI, ModelSettings

if TYPE_CHECKING:  # takes seconds to import, which a wrong request should not wait for
    from transformers import PretrainedConfig

LOGITS_PER_CHUNK = 2**27
"""Logits held at once (0.5 GB in float32): the output layer runs over chunks of tokens of that size."""
PROMPT_ROOM = 1024
"""Tokens of a model's context that are left to the prompt, or a quarter of the context if that is less (ours)."""


def is_remote(spec: ModelSettings) -> bool:
    """Whether the path is a name on the Hub rather than a folder or a shipped checkpoint."""
    return spec.path not in MINI and not Path(spec.path).expanduser().is_dir()


def read_shape(spec: ModelSettings) -> "PretrainedConfig | None":
    """The model's configuration; None if it is not on this machine yet.

    Raises RequestError for a folder that is not there, and for what transformers does not know.
    """
    from transformers import AutoConfig

    from budgetrl.data.mini.model import CHECKPOINTS

    path = str(CHECKPOINTS / spec.path / "base") if spec.path in MINI else spec.path
    if path.startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise RequestError(f"model.path: there is no folder {path}")
    try:
        return AutoConfig.from_pretrained(path, revision=spec.revision, local_files_only=True)
    except OSError:
        return None
    except ValueError as error:
        first_line = str(error).splitlines()[0]
        raise RequestError(f"model.path: {path} is no model that transformers knows ({first_line})") from None


def context_of(spec: ModelSettings) -> int | None:
    """Tokens that prompt and completion may have together; None where that is not known on this machine."""
    shape = read_shape(spec)
    return getattr(shape.get_text_config(), "max_position_embeddings", None) if shape else None


def longest_completion(context: int) -> int:
    """Tokens of a context that are left for a completion.

    >>> longest_completion(131072), longest_completion(1024)
    (130048, 768)
    """
    return context - min(PROMPT_ROOM, context // 4)
