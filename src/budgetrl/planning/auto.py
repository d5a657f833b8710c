"""Replaces `auto` settings by numbers that fit the model and the machine. A frozen configuration has only numbers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from budgetrl.planning.memory import Memory, estimate_memory, longest_sequence
from budgetrl.planning.model_config import context_length, longest_completion
from budgetrl.settings.auto import Rule, with_values
from budgetrl.settings.config import Config

USABLE_SHARE = 0.8
"""Share of a device's memory that is planned with (ours). The rest is for what allocators waste."""
STATE_SHARE = 0.6
"""Maximum share of a device's memory for weights, gradients and optimizer state at ZeRO stage 2 (ours)."""


def resolve_auto(config: Config, auto_keys: Mapping[str, Rule]) -> Config:
    """Return the configuration with numbers in place of `auto`.

    Args:
        config: The configuration with placeholders at those keys.
        auto_keys: The rule for each key, such as {"zero.stage": Rule.ZERO_STAGE}.
    """
    # In the order of the rules: each one reads numbers that the rules before it have set.
    for rule in Rule:
        numbers: dict[str, int] = {}
        for key, rule_of_key in auto_keys.items():
            if rule_of_key == rule:
                numbers[key] = COMPUTE[rule](config)
        if numbers:
            config = with_values(config, numbers)
    return config


def completion_length(config: Config) -> int:
    """Return the maximum tokens per completion: the rule's limit, or what the model's context leaves for it."""
    limit, context = Rule.COMPLETION.value, context_length(config.model)
    return limit if context is None else min(limit, longest_completion(context))


def zero_stage(config: Config) -> int:
    """Return the ZeRO stage: 0 on one rank, 2 on several, or 3 if stage 2 would leave too little memory."""
    if config.zero.offload_parameters:  # DeepSpeed offloads parameters at stage 3 only
        return 3
    # One rank has nothing to shard. Offloading the optimizer needs stage 1 or more even there.
    if config.launch.total_ranks() == 1 and not config.zero.offload_optimizer:
        return 0
    memory = estimate_memory(replace(config, zero=replace(config.zero, stage=2)))
    available = config.launch.device_memory()
    if memory is None or not available:
        return 2
    return 3 if memory.total_state() > STATE_SHARE * available else 2


def micro_batch(config: Config) -> int:
    """Return the tokens per micro-batch: as many as fit, up to the rule's limit, but at least one completion."""
    limit, memory = Rule.MICRO_BATCH.value, estimate_memory(config)
    if memory is None or memory.activations_per_token is None:
        return limit
    free = _free_bytes(memory, config)
    if free is None:
        return limit
    fitting = (free - memory.for_micro_batch(0)) // memory.activations_per_token
    # A completion cannot be split, so less than one would not save memory.
    return max(longest_sequence(config.stage.workload(config)), min(limit, fitting))


def rows(config: Config) -> int:
    """Return the number of completions generated at once: as many as fit, up to the rule's limit, but at least 1."""
    limit, memory = Rule.ROWS.value, estimate_memory(config)
    if memory is None or memory.kv_cache_per_token is None:
        return limit
    free = _free_bytes(memory, config)
    if free is None:
        return limit
    bytes_per_row = memory.kv_cache_per_token * longest_sequence(config.stage.workload(config))
    return max(1, min(limit, free // bytes_per_row))


COMPUTE: dict[Rule, Callable[[Config], int]] = {
    Rule.COMPLETION: completion_length,
    Rule.ZERO_STAGE: zero_stage,
    Rule.MICRO_BATCH: micro_batch,
    Rule.ROWS: rows,
}


def _free_bytes(memory: Memory, config: Config) -> int | None:
    """Return the device memory left beside the state. None if the size of the device's memory is not known."""
    available = config.launch.device_memory()
    return None if available is None else int(USABLE_SHARE * available) - memory.total_state()
