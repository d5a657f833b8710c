"""Reads a model's shape and number of parameters from its files, without torch or transformers."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.settings.checkpoint import local_folder
from budgetrl.settings.model import ModelSettings

LOGITS_PER_CHUNK = 2**27
"""Maximum number of logits in memory at once (0.5 GB in float32). The output layer processes tokens in such chunks."""
PROMPT_TOKENS = 1024
"""Tokens of a model's context reserved for the prompt (ours). A quarter of the context if that is less."""


@dataclass(frozen=True)
class ModelConfig:
    """The numbers of a model's `config.json` that memory estimates and token limits depend on."""

    layers: int
    width: int
    """Width of the hidden states."""
    feed_forward: int
    """Width of the feed-forward layers. Assumed to be 4 * `width` if the file has no `intermediate_size`."""
    key_value_heads: int
    head_size: int
    context: int | None
    """Maximum tokens of prompt and completion together. None if the file does not say."""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "ModelConfig":
        """Convert the content of a `config.json`. Keys may have the names of Llama or those of GPT-2.

        Raises:
            KeyError: A number that every language model has is missing.
        """
        # Models of text and images have the numbers of their language model under text_config.
        text = raw.get("text_config", raw)
        width = text.get("hidden_size") or text["n_embd"]
        heads = text.get("num_attention_heads") or text["n_head"]
        return ModelConfig(
            layers=text.get("num_hidden_layers") or text["n_layer"],
            width=width,
            feed_forward=text.get("intermediate_size") or 4 * width,
            key_value_heads=text.get("num_key_value_heads") or heads,
            head_size=text.get("head_dim") or width // heads,
            context=text.get("max_position_embeddings") or text.get("n_positions"),
        )


def read_model_config(model: ModelSettings) -> ModelConfig | None:
    """Return the model's configuration. None if the model is not on this machine yet.

    Raises:
        RequestError: The folder does not exist, or has no language model in it.
    """
    folder = local_folder(model)
    if folder is None:
        return None
    path = folder / "config.json"
    if not path.is_file():
        raise RequestError(Message("model.path", f"no model in {folder}: it has no config.json", "fix the path"))
    try:
        return ModelConfig.of(json.loads(path.read_text()))
    except (ValueError, KeyError) as error:
        text = f"{path} is not the configuration of a language model ({type(error).__name__}: {error})"
        raise RequestError(Message("model.path", text, "use another model")) from None


def context_length(model: ModelSettings) -> int | None:
    """Return the maximum tokens of prompt and completion together. None if this machine does not know."""
    config = read_model_config(model)
    return config.context if config else None


def longest_completion(context: int) -> int:
    """Return how many tokens of a context remain for the completion.

    >>> longest_completion(131072), longest_completion(1024)
    (130048, 768)
    """
    return context - min(PROMPT_TOKENS, context // 4)


def count_parameters(model: ModelSettings) -> int | None:
    """Return the number of parameters according to the weight files. None if they are not on this machine."""
    folder = local_folder(model)
    return None if folder is None else _count_in(folder)


@cache
def _count_in(folder: Path) -> int | None:
    is_tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False)
    counts: dict[str, int] = {}
    for file in _weight_files(folder):
        counts |= _count_in_file(file)
    if is_tied and len(counts) > 1:
        # Tied to the embeddings, so not parameters of their own. Some files store them twice.
        counts.pop("lm_head.weight", None)
    return sum(counts.values()) or None


def _weight_files(folder: Path) -> list[Path]:
    """Return the weight files; empty if any is missing."""
    # Not simply *.safetensors: some repositories have a second copy of the weights in another layout.
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
        files = [folder / name for name in sorted(names)]
        return files if all(file.is_file() for file in files) else []
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def _count_in_file(path: Path) -> dict[str, int]:
    """Return the number of elements of each tensor in a safetensors file: {"lm_head.weight": 8192}."""
    with open(path, "rb") as file:
        # The file starts with the length of its header (8 bytes, little-endian), then the header as JSON:
        # {"__metadata__": {...}, "lm_head.weight": {"dtype": "F32", "shape": [64, 128], "data_offsets": [0, 32768]}}
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {name: math.prod(tensor["shape"]) for name, tensor in header.items()}
