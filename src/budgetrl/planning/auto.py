"""Values that are `auto` in a request, as numbers that fit model and machine. A frozen run has only the numbers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from budgetrl.planning.memory import Memory, estimate_memory, longest_sequence
from budgetrl.planning.model_config import context_length, longest_completion
from budgetrl.settings.auto import Rule, with_values
from budgetrl.settings.config import Config

USED = 0.8
"""The share of a device's memory that is planned with; what allocators waste has the rest (ours)."""
STATE = 0.6
"""The largest share of a device's memory that weights, gradients and optimizer may take at ZeRO stage 2 (ours)."""


def resolve_auto(config: Config, auto_keys: Mapping[str, Rule]) -> Config:
    """The configuration with numbers at the keys that were `auto`, where stand-ins are now."""
    for rule in Rule:
        keys = [key for key, own in auto_keys.items() if own == rule]
        if keys:
            config = with_values(config, dict.fromkeys(keys, FITS[rule](config)))
    return config


def longest(config: Config) -> int:
    """The longest completion in tokens: the usual one, or what the model's context leaves beside the prompt."""
    usual, context = Rule.COMPLETION.value, context_length(config.model)
    return usual if context is None else min(usual, longest_completion(context))


def zero_stage(config: Config) -> int:
    """0 on one rank, where there is nothing to cut up, else 2, or 3 where that would leave too little memory.

    What is offloaded may need a higher one.
    """
    if config.zero.offload_parameters:
        return 3
    if not config.zero.offload_optimizer and config.launch.total_ranks() == 1:
        return 0
    memory, there = estimate_memory(replace(config, zero=replace(config.zero, stage=2))), config.launch.device_memory()
    return 3 if memory and there and memory.total_state() > STATE * there else 2


def micro_batch(config: Config) -> int:
    """Tokens of a micro-batch: the usual ones, or what memory leaves for their activations, but one completion."""
    usual, memory = Rule.MICRO_BATCH.value, estimate_memory(config)
    if memory is None or memory.token is None or (room := _room(memory, config)) is None:
        return usual
    fitting = (room - memory.for_micro_batch(0)) // memory.token
    return max(longest_sequence(config.stage.workload(config)), min(usual, fitting))


def rows(config: Config) -> int:
    """Completions at once: the usual ones, or as many as memory leaves for their keys and values, but one."""
    usual, memory = Rule.ROWS.value, estimate_memory(config)
    if memory is None or memory.cached_token is None or (room := _room(memory, config)) is None:
        return usual
    bytes_each = memory.cached_token * longest_sequence(config.stage.workload(config))
    return max(1, min(usual, room // bytes_each))


FITS: dict[Rule, Callable[[Config], int]] = {
    Rule.COMPLETION: longest,
    Rule.ZERO_STAGE: zero_stage,
    Rule.MICRO_BATCH: micro_batch,
    Rule.ROWS: rows,
}


def _room(memory: Memory, config: Config) -> int | None:
    """Bytes that are left beside what is held all the time; None where a device's memory is not known."""
    there = config.launch.device_memory()
    return None if there is None else int(USED * there) - memory.total_state()
