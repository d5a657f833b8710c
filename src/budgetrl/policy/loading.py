"""Load a policy: shipped mini checkpoints, Hugging Face folders and Hub names alike; and save one."""

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

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Policy:
    """A model, its tokenizer and how to ask it."""

    model: "PreTrainedModel"
    codec: TextCodec


def resolve_path(spec: ModelSettings, fmt: ResponseFormat) -> str:
    """The folder or Hub name to load. A family of shipped models has one for the format that it was taught."""
    return str(shipped_folder(spec.path, fmt.name)) if is_shipped(spec.path) else spec.path


def resolve_dtype(spec: ModelSettings, device: torch.device) -> torch.dtype:
    """auto: bfloat16 on GPUs, float32 elsewhere."""
    if spec.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, spec.dtype)


def load_policy(spec: ModelSettings, fmt: ResponseFormat, device: torch.device) -> Policy:
    """Load model and tokenizer onto a device."""
    path = resolve_path(spec, fmt)
    _require_known_type(path, spec.revision)
    model = AutoModelForCausalLM.from_pretrained(
        path, revision=spec.revision, dtype=resolve_dtype(spec, device), attn_implementation="sdpa"
    )
    model.to(device)  # pyright: ignore[reportArgumentType]: transformers' decorated signature
    if spec.gradient_checkpointing:
        _checkpoint_activations(model)
    return Policy(model, make_codec(load_tokenizer(path, spec.revision), spec, model.generation_config))


def _require_known_type(path: str, revision: str | None) -> None:
    """RequestError for a model whose type the installed transformers does not know, or knows of no language model."""
    try:
        config = AutoConfig.from_pretrained(path, revision=revision)
    except ValueError as error:  # its text goes on for a screen about remote code and updates
        what = str(error).strip().splitlines()[0]
        hint = "install a newer transformers, or take another model"
        raise RequestError(
            Message("model.path", f"{path} cannot be loaded by transformers {version} ({what})", hint)
        ) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RequestError(Message("model.path", f"{path} is no language model, but {config.model_type}"))


def _checkpoint_activations(model: "PreTrainedModel") -> None:
    """Compute activations again in the backward pass in place of keeping them."""
    renamed = getattr(model, "activation_checkpointing_enable", None)
    enable = renamed or model.gradient_checkpointing_enable  # the older name, which newer versions warn about
    enable({"use_reentrant": False})


def load_codec(spec: ModelSettings, fmt: ResponseFormat) -> TextCodec:
    """The codec of `load_policy` without the weights, which need not be on this machine."""
    path = resolve_path(spec, fmt)
    try:
        generation = GenerationConfig.from_pretrained(path, revision=spec.revision or "main")
    except OSError:  # there is none, as in a folder that holds a tokenizer alone
        generation = None
    return make_codec(load_tokenizer(path, spec.revision), spec, generation)


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """With the base model's chat template, for a checkpoint of ours too: in formats without a start of their own it is
    asked as the base model is."""
    return rewrite_chat_template(AutoTokenizer.from_pretrained(path, revision=revision), with_think)


def make_codec(
    tokenizer: PreTrainedTokenizerBase, spec: ModelSettings, generation: GenerationConfig | None = None
) -> TextCodec:
    """The codec of a tokenizer; its end tokens are the tokenizer's and those of the generation config.

    Raises RequestError for a tokenizer without any end token.
    """
    configured = generation.eos_token_id if generation else None
    extra = configured if isinstance(configured, list) else [configured]
    stop_ids = dict.fromkeys(i for i in [tokenizer.eos_token_id, *extra] if i is not None)
    if not stop_ids:
        raise RequestError(
            f"model.path: the tokenizer of {spec.path} has no end token; set eos_token in its tokenizer_config.json"
        )
    return TextCodec(tokenizer, spec, tuple(stop_ids))


def save_pretrained(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, torch.Tensor],
    learned: LearnedFormat,
    card: str,
) -> None:
    """Write a Hugging Face folder that loads with transformers alone: weights, tokenizer, chat template, card; and
    `budgetrl.json`, which says how to ask it."""
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
    write_learned_format(folder, learned)
    (folder / "README.md").write_text(card)
