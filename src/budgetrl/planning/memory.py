"""How much device memory a run needs on each rank, from its configuration alone.

Estimates that err on the large side; what an allocator rounds up and fragments is not in them. Weights, gradients and
the optimizer's state are exact (`bytes_per_rank`). The rest is ours, from what transformers' Llama, Qwen2 and Qwen3
keep for the backward pass (a test measures it): for each token and layer 4 vectors of the width of the
feed-forward layer, and at most 18 of the width of the model.
"""

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
    """How many; a number, not bytes."""
    state: dict[str, int]
    """What is held all the time, by name: weights, and in training gradients and the optimizer's state."""
    logits: int
    """The logits of the output layer's chunk, with their gradient."""
    token: int | None
    """Activations of a token of a micro-batch; None if the model's shape is not known, or nothing is trained."""
    cached_token: int | None
    """Keys and values of a token of a completion that is being written; None if the shape is not known."""

    def total_state(self) -> int:
        """All of `state`."""
        return sum(self.state.values())

    def for_micro_batch(self, tokens: int) -> int:
        """What a micro-batch of so many tokens takes besides."""
        return (self.token or 0) * tokens + self.logits

    def for_generation(self, completions: int, tokens: int) -> int:
        """What so many completions at once take besides, if all of them come to so many tokens."""
        return (self.cached_token or 0) * completions * tokens


def estimate_memory(config: Config) -> Memory | None:
    """What a run needs; None while its model is not on this machine and `model.parameters` is not given."""
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
        3 * 4 * LOGITS_PER_CHUNK,
        activation_bytes_per_token(model, number_bytes, config.model.gradient_checkpointing) if model else None,
        kv_bytes_per_token(model, number_bytes) if model else None,
    )


def activation_bytes_per_token(model: ModelConfig, number_bytes: int, recompute: bool) -> int:
    """Activations of a token, with `number_bytes` a number. `recompute`: each layer's but its input are made again in
    the backward pass, which then holds one layer's and their gradients."""
    layer = 4 * model.feed_forward + 18 * model.width
    if recompute:
        return number_bytes * (model.layers * model.width + 2 * layer)
    return number_bytes * model.layers * layer


def kv_bytes_per_token(model: ModelConfig, number_bytes: int) -> int:
    """Keys and values of a token in all layers, with `number_bytes` a number."""
    return number_bytes * 2 * model.layers * model.key_value_heads * model.head_size


def is_bf16(config: Config) -> bool:
    """Whether weights are in bfloat16 rather than float32."""
    dtype = config.model.dtype
    return dtype == "bfloat16" or (dtype == "auto" and config.launch.on_gpus())


def longest_sequence(work: Workload) -> int:
    """Tokens of the longest completion and a long prompt."""
    return work.longest_completion + PROMPT_TOKENS


def _training_state(config: Config, work: Workload, parameters: int) -> dict[str, int]:
    ranks = config.launch.total_ranks()
    return bytes_per_rank(
        config.zero, parameters, is_bf16(config), ranks, work.generates_in_training, work.holds_reference
    )


def bytes_per_rank(
    zero: ZeroSettings, parameters: int, bf16: bool, ranks: int, rollouts: bool = False, reference: bool = False
) -> dict[str, int]:
    """Device memory of the training state on each rank, in bytes; activations and logits come on top.

    `rollouts`: the model also writes while it is trained, for which stage 3 gathers whole weights beside the
    cut ones. `reference`: a frozen copy is held, whole, to measure the KL divergence from.
    Adam's state is 12 bytes a parameter beside bf16 weights (fp32 weights and two moments), 8 beside fp32 ones.
    """
    wide = 2 if bf16 else 4
    optimizer = (12 if bf16 else 8) * parameters
    weights, gradients = wide * parameters, wide * parameters
    sizes = {
        "weights": 0 if zero.offload_parameters else _share(weights, ranks, zero.stage >= 3),
        "gradients": _share(gradients, ranks, zero.stage >= 2),
        "optimizer": 0 if zero.offload_optimizer else _share(optimizer, ranks, zero.stage >= 1),
    }
    if rollouts and zero.stage >= 3:
        sizes["whole weights, to write completions"] = weights
    if reference:
        sizes["reference model"] = weights
    return sizes


def _share(size: int, ranks: int, cut: bool) -> int:
    return -(-size // ranks) if cut else size
