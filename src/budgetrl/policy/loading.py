"""Load and save policies: shipped mini checkpoints, local folders and models of the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)
from transformers import __version__ as version

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.data.mini.shipped import is_shipped, shipped_folder
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LearnedFormat, write_learned_format
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.template import rewrite_chat_template, with_think
from budgetrl.settings.model import ModelSettings

if TYPE_CHECKING:  # importing it takes seconds
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Policy:
    """A model and its codec: the tokenizer, and how to prompt the model."""

    model: "PreTrainedModel"
    codec: TextCodec


def resolve_path(settings: ModelSettings, fmt: ResponseFormat) -> str:
    """Return the folder or Hub name to load. Shipped models have one folder per response format."""
    return str(shipped_folder(settings.path, fmt.name)) if is_shipped(settings.path) else settings.path


def resolve_dtype(settings: ModelSettings, device: torch.device) -> torch.dtype:
    """Return the dtype of the weights. `auto` means bfloat16 on GPUs and float32 elsewhere."""
    if settings.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, settings.dtype)


def load_policy(settings: ModelSettings, fmt: ResponseFormat, device: torch.device) -> Policy:
    """Load a model and its tokenizer onto a device.

    Raises:
        RequestError: transformers cannot load the model as a language model, or its tokenizer has no end token.
    """
    path = resolve_path(settings, fmt)
    _require_language_model(path, settings.revision)
    model = AutoModelForCausalLM.from_pretrained(
        path, revision=settings.revision, dtype=resolve_dtype(settings, device), attn_implementation="sdpa"
    )
    model.to(device)  # pyright: ignore[reportArgumentType]: transformers' decorated signature
    if settings.gradient_checkpointing:
        _checkpoint_activations(model)
    return Policy(model, make_codec(load_tokenizer(path, settings.revision), settings, model.generation_config))


def _require_language_model(path: str, revision: str | None) -> None:
    """Raise RequestError if the installed transformers does not know the model's type, or not as a language model."""
    try:
        config = AutoConfig.from_pretrained(path, revision=revision)
    except ValueError as error:
        # Keep the first line only: the message goes on for a screen about remote code and updates.
        reason = str(error).strip().splitlines()[0]
        text = f"{path} cannot be loaded by transformers {version} ({reason})"
        raise RequestError(Message("model.path", text, "install a newer transformers or use another model")) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        text = f"{path} has the type {config.model_type}, which is not a causal language model"
        raise RequestError(Message("model.path", text, "use another model"))


def _checkpoint_activations(model: "PreTrainedModel") -> None:
    """Make the model recompute activations in the backward pass instead of keeping them in memory."""
    # Newer transformers versions renamed the method, and warn about the old name.
    new_method = getattr(model, "activation_checkpointing_enable", None)
    enable = new_method or model.gradient_checkpointing_enable
    # The variant that PyTorch recommends; the reentrant one only works for inputs that require gradients.
    enable({"use_reentrant": False})


def load_codec(settings: ModelSettings, fmt: ResponseFormat) -> TextCodec:
    """Return the codec that `load_policy` would make, without loading weights. They may be missing here."""
    path = resolve_path(settings, fmt)
    try:
        generation = GenerationConfig.from_pretrained(path, revision=settings.revision or "main")
    except OSError:  # no generation_config.json, as in a folder with only a tokenizer
        generation = None
    return make_codec(load_tokenizer(path, settings.revision), settings, generation)


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer, with the chat template of the base model."""
    # Our checkpoints are saved with a template that drops the initial <think>. Undo that here: the codec drops it
    # itself if the format requires it, and other formats prompt the checkpoint like its base model.
    return rewrite_chat_template(AutoTokenizer.from_pretrained(path, revision=revision), with_think)


def make_codec(
    tokenizer: PreTrainedTokenizerBase, settings: ModelSettings, generation: GenerationConfig | None = None
) -> TextCodec:
    """Return the codec of a tokenizer. Completions end at its end token, or at one of the generation config.

    Raises:
        RequestError: There is no end token.
    """
    # transformers allows None, one token or a list.
    configured = generation.eos_token_id if generation else None
    candidates = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    # The tokenizer's own end token stays first: targets end with it.
    stop_ids = tuple(dict.fromkeys(token for token in candidates if token is not None))
    if not stop_ids:
        text = f"the tokenizer of {settings.path} has no end token"
        raise RequestError(Message("model.path", text, "set eos_token in its tokenizer_config.json"))
    return TextCodec(tokenizer, settings, stop_ids)


def save_pretrained(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, torch.Tensor],
    learned: LearnedFormat,
    card: str,
) -> None:
    """Write a Hugging Face folder: weights, tokenizer, chat template, model card, and the format in `budgetrl.json`.

    transformers loads it without budgetrl. `state` holds the weights, since ZeRO 3 leaves only shards in `model`.
    """
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
    write_learned_format(folder, learned)
    (folder / "README.md").write_text(card)
