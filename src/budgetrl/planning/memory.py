"""Estimates how much device memory a run needs on each rank, from its configuration alone.

The numbers for weights, gradients and optimizer state are exact (`bytes_per_rank`). The others are upper estimates
(ours), without what an allocator rounds up or fragments. Activations follow from what Llama, Qwen2 and Qwen3 of
transformers keep for the backward pass: per token and layer, 4 vectors of the width of the feed-forward layer and at
most 18 vectors of the width of the model. A test compares this with what PyTorch really keeps.
"""

import math
from dataclasses import dataclass

from budgetrl.core.workload import Workload
from budgetrl.planning.model_config import (
    LOGITS_PER_CHUNK,
    PROMPT_TOKENS,
    ModelConfig,
    count_parameters,
    read_model_config,
)
from budgetrl.settings.config import Config
from budgetrl.settings.zero import ZeroSettings


@dataclass(frozen=True)
class Memory:
    """The device memory that one rank needs, in bytes."""

    parameters: int
    """Number of parameters, not bytes."""
    state: dict[str, int]
    """What is in memory all the time: {"weights": 3000, "gradients": 3000, "optimizer": 12000}."""
    logits: int
    """Logits of one chunk of the output layer, with their gradient."""
    activations_per_token: int | None
    """Activations per token of a micro-batch. None if the model's shape is unknown or nothing is trained."""
    kv_cache_per_token: int | None
    """Keys and values per token during generation. None if the model's shape is unknown."""

    def total_state(self) -> int:
        """Return the sum of `state`."""
        return sum(self.state.values())

    def for_micro_batch(self, tokens: int) -> int:
        """Return the memory that a micro-batch of `tokens` tokens needs in addition to the state."""
        return (self.activations_per_token or 0) * tokens + self.logits

    def for_generation(self, completions: int, tokens: int) -> int:
        """Return the memory that `completions` sequences of `tokens` tokens need in addition to the state."""
        return (self.kv_cache_per_token or 0) * completions * tokens


def estimate_memory(config: Config) -> Memory | None:
    """Return the memory of a run. None if the model is not on this machine and `model.parameters` is not set."""
    model = read_model_config(config.model)
    parameters = count_parameters(config.model) or config.model.parameters
    if parameters is None:
        return None
    work = config.stage.workload(config)
    number_bytes = 2 if is_bf16(config) else 4
    if not work.trains:
        cached = kv_bytes_per_token(model, number_bytes) if model else None
        return Memory(parameters, {"weights": number_bytes * parameters}, 0, None, cached)
    return Memory(
        parameters,
        _training_state(config, work, parameters),
        # Float32 logits (4 bytes each), their gradient, and one temporary tensor of the same size.
        3 * 4 * LOGITS_PER_CHUNK,
        activation_bytes_per_token(model, number_bytes, config.model.gradient_checkpointing) if model else None,
        kv_bytes_per_token(model, number_bytes) if model else None,
    )


def activation_bytes_per_token(model: ModelConfig, number_bytes: int, recompute: bool) -> int:
    """Return the bytes of activations per token of a micro-batch, in all layers.

    Args:
        number_bytes: Bytes per number: 2 for bfloat16, 4 for float32.
        recompute: Whether gradient checkpointing is on.
    """
    layer = 4 * model.feed_forward + 18 * model.width
    if recompute:
        # Only the inputs of the layers are kept. The backward pass recomputes one layer at a time, and then holds its
        # activations and their gradients.
        return number_bytes * (model.layers * model.width + 2 * layer)
    return number_bytes * model.layers * layer


def kv_bytes_per_token(model: ModelConfig, number_bytes: int) -> int:
    """Return the bytes of keys and values per token in all layers, with `number_bytes` bytes per number."""
    return number_bytes * 2 * model.layers * model.key_value_heads * model.head_size


def is_bf16(config: Config) -> bool:
    """Return whether weights are in bfloat16 rather than float32."""
    dtype = config.model.dtype
    return dtype == "bfloat16" or (dtype == "auto" and config.launch.on_gpus())


def longest_sequence(work: Workload) -> int:
    """Return the tokens of the longest completion together with a long prompt."""
    return work.longest_completion + PROMPT_TOKENS


def _training_state(config: Config, work: Workload, parameters: int) -> dict[str, int]:
    ranks = config.launch.total_ranks()
    return bytes_per_rank(
        config.zero, parameters, is_bf16(config), ranks, work.generates_in_training, work.holds_reference
    )


def bytes_per_rank(
    zero: ZeroSettings, parameters: int, bf16: bool, ranks: int, rollouts: bool = False, reference: bool = False
) -> dict[str, int]:
    """Return the bytes of the training state on each rank, without activations and logits.

    Args:
        zero: The ZeRO stage and what is offloaded to the CPU.
        parameters: Number of parameters of the model.
        bf16: Whether weights are in bfloat16 rather than float32.
        ranks: Number of ranks among which the state is sharded.
        rollouts: Whether the model generates during training. ZeRO stage 3 then gathers the full weights for it.
        reference: Whether a frozen copy of the model is kept, unsharded, for the KL penalty.
    """
    weights = gradients = (2 if bf16 else 4) * parameters
    # Adam keeps two float32 moments (8 bytes per parameter); beside bf16 weights also float32 weights (4 bytes).
    optimizer = (12 if bf16 else 8) * parameters
    # ZeRO stage 1 shards the optimizer state, stage 2 also the gradients, stage 3 also the weights.
    sizes = {
        "weights": 0 if zero.offload_parameters else _share(weights, ranks, zero.stage >= 3),
        "gradients": _share(gradients, ranks, zero.stage >= 2),
        "optimizer": 0 if zero.offload_optimizer else _share(optimizer, ranks, zero.stage >= 1),
    }
    if rollouts and zero.stage >= 3:
        sizes["full weights for generation"] = weights
    if reference:
        sizes["reference model"] = weights
    return sizes


def _share(size: int, ranks: int, sharded: bool) -> int:
    return math.ceil(size / ranks) if sharded else size
