"""The work of a stage as numbers. Plans, memory estimates and checks read it instead of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workload:
    """The work of one stage. Token counts are response tokens; None if they depend on problems not read yet."""

    summary: Mapping[str, object] = field(default_factory=dict)
    """Numbers that the plan shows, by label, such as completions per step."""
    trains: bool = False
    """Whether the stage trains a model. The model must then be on this machine."""
    generates: bool = False
    """Whether the stage generates completions."""
    generates_with_trained_weights: bool = False
    """Whether the stage generates with the weights that it trains. A server does not have those."""
    generates_in_training: bool = False
    """Whether the stage generates between optimizer steps. ZeRO stage 3 then holds full weights beside its shards."""
    holds_reference: bool = False
    """Whether a frozen copy of the model is in memory during training."""
    temperature: float = 0.0
    """Highest sampling temperature. 0 if all completions are greedy, or nothing is generated."""
    tokens_generated: int | None = 0
    """Maximum number of tokens to generate, reached if every completion reaches its limit."""
    tokens_trained: int | None = 0
    """Maximum number of tokens to train on."""
    completion_limits: Mapping[str, int] = field(default_factory=dict)
    """Maximum tokens per completion, by the key that sets it: {"stage.max_new_tokens": 1024}."""
    micro_batches: Mapping[str, int] = field(default_factory=dict)
    """Maximum padded tokens per micro-batch, by the key that sets it: {"stage.tokens_per_device": 16384}."""

    @property
    def uses_model(self) -> bool:
        """Whether the stage runs a model at all."""
        return self.trains or self.generates

    @property
    def longest_completion(self) -> int:
        """Maximum tokens per completion. 0 if nothing is generated."""
        return max(self.completion_limits.values(), default=0)

    @property
    def largest_micro_batch(self) -> int:
        """Maximum padded tokens per micro-batch. 0 if nothing is trained."""
        return max(self.micro_batches.values(), default=0)


def combine_workloads(parts: Mapping[str, Workload]) -> Workload:
    """Return the combined work of parts that run one after the other. Summary labels get the part's name in front.

    >>> parts = {"a": Workload({"steps": 3}, tokens_trained=30), "b": Workload(tokens_generated=None)}
    >>> whole = combine_workloads(parts)
    >>> whole.summary, whole.tokens_trained, whole.tokens_generated
    ({'a: steps': 3}, 30, None)
    """
    summary: dict[str, object] = {}
    limits: dict[str, int] = {}
    micro_batches: dict[str, int] = {}
    whole = Workload()
    for name, work in parts.items():
        for label, value in work.summary.items():
            summary[f"{name}: {label}"] = value
        limits |= work.completion_limits
        micro_batches |= work.micro_batches
        whole = Workload(
            summary=summary,
            trains=whole.trains or work.trains,
            generates=whole.generates or work.generates,
            generates_with_trained_weights=whole.generates_with_trained_weights or work.generates_with_trained_weights,
            generates_in_training=whole.generates_in_training or work.generates_in_training,
            holds_reference=whole.holds_reference or work.holds_reference,
            temperature=max(whole.temperature, work.temperature),
            tokens_generated=_add(whole.tokens_generated, work.tokens_generated),
            tokens_trained=_add(whole.tokens_trained, work.tokens_trained),
            completion_limits=limits,
            micro_batches=micro_batches,
        )
    return whole


def _add(first: int | None, second: int | None) -> int | None:
    """Return the sum, or None if one of the numbers is not known."""
    return None if first is None or second is None else first + second
