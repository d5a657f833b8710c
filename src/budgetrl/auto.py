"""Values that are `auto` in a request, as numbers that fit the model and the ranks. A frozen run has only the numbers.

`zero.stage=auto` and `max_new_tokens=auto` of any stage. What follows from the sizes of GPUs is left to the user:
tokens a device, offloading, and stage 3 for models whose weights do not fit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from budgetrl.config import Config, load_config
from budgetrl.policy.shape import context_of, longest_completion

AUTO = "auto"
LONGEST = 8192
"""Tokens of a completion where the model's context has room for them, or is not known yet (ours)."""


def settle(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration with numbers for `auto`. Raises ConfigError for one that cannot be loaded even so."""
    rough = _filled(mapping, zero_stage=lambda: 3, longest=lambda: LONGEST)
    if rough == mapping:
        return rough
    config = load_config(rough)
    return _filled(mapping, zero_stage=lambda: zero_stage(config), longest=lambda: longest(config))


def zero_stage(config: Config) -> int:
    """0 on one rank, where there is nothing to cut up, else 2; what is offloaded may need more."""
    if config.zero.offload_parameters:
        return 3
    return 2 if config.zero.offload_optimizer or config.launch.total_ranks() > 1 else 0


def longest(config: Config) -> int:
    """The longest completion in tokens: `LONGEST`, or what the model's context leaves beside the prompt."""
    context = context_of(config.model)
    return LONGEST if context is None else min(LONGEST, longest_completion(context))


def _filled(
    mapping: Mapping[str, Any], zero_stage: Callable[[], int], longest: Callable[[], int], above: str = ""
) -> dict[str, Any]:
    """A copy with each `auto` of the two kinds replaced; their numbers are worked out only where they are needed."""

    def fill(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _filled(value, zero_stage, longest, f"{above}{key}.")
        if value == AUTO and above == "zero." and key == "stage":
            return zero_stage()
        return longest() if value == AUTO and above.startswith("stage.") and key == "max_new_tokens" else value

    return {key: fill(key, value) for key, value in mapping.items()}
