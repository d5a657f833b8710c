"""Values that are `auto` in a request, as numbers that fit model and machine. A frozen run has only the numbers.

`zero.stage`, `rollout.batch_size`, and `max_new_tokens` and `tokens_per_device` of any stage. They are
settled in this order, each with what those before it came to: `max_new_tokens`, `zero.stage`, the other two.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from budgetrl.planning.memory import Memory, completion_room, device_memory, estimate
from budgetrl.planning.model_config import context_of, longest_completion
from budgetrl.settings.config import Config, load_config

AUTO = "auto"
USED = 0.8
"""The share of a device's memory that is planned with; what allocators waste has the rest (ours)."""
STATE = 0.6
"""The largest share of a device's memory that weights, gradients and optimizer may take at ZeRO stage 2 (ours)."""
LONGEST = 8192
"""Tokens of a completion where the model's context has room for them, or is not known yet (ours)."""
TOKENS = 16384
"""Tokens of a micro-batch where memory allows them or is not known: enough to keep a GPU busy (ours)."""
ROWS = 128
"""Completions written at once where memory allows them or is not known (ours)."""


def settle(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration with numbers for `auto`. Raises ConfigError for one that cannot be loaded even so."""
    settled = {**mapping}
    for rule in RULES:
        probe = _filled(settled, rule, rule.usual)
        if probe == settled:
            continue
        for other in RULES:
            probe = _filled(probe, other, other.usual)
        settled = _filled(settled, rule, rule.fit(load_config(probe)))
    return settled


def longest(config: Config) -> int:
    """The longest completion in tokens: `LONGEST`, or what the model's context leaves beside the prompt."""
    context = context_of(config.model)
    return LONGEST if context is None else min(LONGEST, longest_completion(context))


def zero_stage(config: Config) -> int:
    """0 on one rank, where there is nothing to cut up, else 2, or 3 where that would leave too little memory.

    What is offloaded may need a higher one.
    """
    if config.zero.offload_parameters:
        return 3
    if not config.zero.offload_optimizer and config.launch.total_ranks() == 1:
        return 0
    memory, there = estimate(replace(config, zero=replace(config.zero, stage=2))), device_memory(config.launch)
    return 3 if memory and there and memory.held() > STATE * there else 2


def micro_batch(config: Config) -> int:
    """Tokens of a micro-batch: `TOKENS`, or what memory leaves for their activations, but one completion."""
    memory = estimate(config)
    if memory is None or (room := _room(memory, config)) is None or memory.token is None:
        return TOKENS
    return max(completion_room(config.stage.workload(config)), min(TOKENS, (room - memory.training(0)) // memory.token))


def rows(config: Config) -> int:
    """Completions at once: `ROWS`, or as many as memory leaves for their keys and values, but one."""
    memory = estimate(config)
    if memory is None or (room := _room(memory, config)) is None or memory.cached_token is None:
        return ROWS
    return max(1, min(ROWS, room // (memory.cached_token * completion_room(config.stage.workload(config)))))


def _room(memory: Memory, config: Config) -> int | None:
    """Bytes that are left beside what is held all the time; None where a device's memory is not known."""
    there = device_memory(config.launch)
    return None if there is None else int(USED * there) - memory.held()


@dataclass(frozen=True)
class Rule:
    """What `auto` comes to at the keys that a pattern matches."""

    keys: str
    fit: Callable[[Config], int]
    usual: int
    """Stands in while others are worked out."""


RULES = (
    Rule(r"stage\.(\w+\.)?max_new_tokens", longest, LONGEST),
    Rule(r"zero\.stage", zero_stage, 3),  # with which every choice to offload can be loaded
    Rule(r"stage\.(\w+\.)?tokens_per_device", micro_batch, TOKENS),
    Rule(r"rollout\.batch_size", rows, ROWS),
)


def _filled(mapping: Mapping[str, Any], rule: Rule, number: int, above: str = "") -> dict[str, Any]:
    """A copy with `number` for each `auto` of a rule."""

    def fill(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _filled(value, rule, number, f"{above}{key}.")
        return number if value == AUTO and re.fullmatch(rule.keys, f"{above}{key}") else value

    return {key: fill(key, value) for key, value in mapping.items()}
