"""What a model's own files say of it, read without torch or transformers, before its weights are."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.settings.checkpoint import local_folder
from budgetrl.settings.model import ModelSettings

LOGITS_PER_CHUNK = 2**27
"""Logits held at once (0.5 GB in float32): the output layer runs over chunks of tokens of that size."""
PROMPT_TOKENS = 1024
"""Tokens of a model's context that are left to the prompt, or a quarter of the context if that is less (ours)."""


@dataclass(frozen=True)
class ModelConfig:
    """The numbers of `config.json` that memory and limits follow from."""

    layers: int
    width: int
    """Width of the hidden states."""
    feed_forward: int
    """Width of the feed-forward layers; four times the model's where the configuration has another name for it."""
    key_value_heads: int
    head_size: int
    context: int | None
    """Tokens that prompt and completion may have together."""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "ModelConfig":
        """From the content of a config.json; a model of text and pictures has its numbers below `text_config`.

        Raises KeyError for a key that every language model has, in its own or in GPT-2's name.
        """
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
    """The model's configuration; None if it is not on this machine yet.

    Raises RequestError for a folder that is not there, and for one that holds no language model.
    """
    folder = local_folder(model)
    if folder is None:
        return None
    path = folder / "config.json"
    if not path.is_file():
        raise RequestError(f"model.path: {folder} holds no model: there is no config.json in it")
    try:
        return ModelConfig.of(json.loads(path.read_text()))
    except (ValueError, KeyError) as error:
        raise RequestError(f"model.path: {path} is not the configuration of a language model ({error})") from None


def context_length(model: ModelSettings) -> int | None:
    """Tokens that prompt and completion may have together; None where that is not known on this machine."""
    config = read_model_config(model)
    return config.context if config else None


def longest_completion(context: int) -> int:
    """Tokens of a context that are left for a completion.

    >>> longest_completion(131072), longest_completion(1024)
    (130048, 768)
    """
    return context - min(PROMPT_TOKENS, context // 4)


def count_parameters(model: ModelSettings) -> int | None:
    """Parameters of a model, from the headers of its weight files; None if these are not on this machine."""
    folder = local_folder(model)
    return None if folder is None else _count_in(folder)


@cache
def _count_in(folder: Path) -> int | None:
    is_tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False)
    counts: dict[str, int] = {}
    for file in _weight_files(folder):
        counts |= _count_in_file(file)
    if is_tied and len(counts) > 1:
        counts.pop("lm_head.weight", None)  # the same numbers as the embeddings, which some files hold again
    return sum(counts.values()) or None


def _weight_files(folder: Path) -> list[Path]:
    """The files of the weights; others may lie beside them, such as a second copy in another layout."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
        files = [folder / name for name in sorted(names)]
        return files if all(file.is_file() for file in files) else []
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def _count_in_file(path: Path) -> dict[str, int]:
    """How many numbers each tensor of a safetensors file has. Its header is JSON, and its first eight bytes are how
    long that is."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(size))
    return {name: math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
