"""What a stage will do, as numbers: what plans, memory estimates and checks read instead of settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workload:
    """The work of one stage. Tokens are those of responses; None is a number that only the problems can tell."""

    summary: Mapping[str, object] = field(default_factory=dict)
    """Derived numbers worth knowing before anything starts, such as completions a step, as a plan shows them."""
    trains: bool = False
    """Whether the stage changes a model, which then must be on this machine."""
    generates: bool = False
    """Whether the stage asks a model for completions."""
    generates_with_trained_weights: bool = False
    """Whether some of these come from the weights that this stage trains, which no server has."""
    generates_in_training: bool = False
    """Whether it generates between optimizer steps: ZeRO 3 then gathers whole weights beside its shards."""
    holds_reference: bool = False
    """Whether a frozen copy of the model is held in training."""
    temperature: float = 0.0
    """The highest at which completions are drawn; 0 where they are greedy, or there are none."""
    tokens_generated: int | None = 0
    """Most tokens to generate, if every completion runs into its limit."""
    tokens_trained: int | None = 0
    """Most tokens to train on."""
    completion_limits: Mapping[str, int] = field(default_factory=dict)
    """The longest completion in tokens, by the key that sets it."""
    micro_batches: Mapping[str, int] = field(default_factory=dict)
    """Padded tokens of a micro-batch, by the key that sets them."""

    @property
    def uses_model(self) -> bool:
        """Whether a model is run at all."""
        return self.trains or self.generates

    @property
    def longest_completion(self) -> int:
        """Tokens of the longest completion; 0 where nothing is generated."""
        return max(self.completion_limits.values(), default=0)

    @property
    def largest_micro_batch(self) -> int:
        """Padded tokens of the largest micro-batch; 0 where nothing is trained."""
        return max(self.micro_batches.values(), default=0)


def combine_workloads(parts: Mapping[str, Workload]) -> Workload:
    """The work of parts that run one after the other. Its summary names the part before each line.

    >>> parts = {"a": Workload({"steps": 3}, tokens_trained=30), "b": Workload(tokens_generated=None)}
    >>> whole = combine_workloads(parts)
    >>> whole.summary, whole.tokens_trained, whole.tokens_generated
    ({'a: steps': 3}, 30, None)
    """
    works = list(parts.values())
    summary: dict[str, object] = {}
    limits: dict[str, int] = {}
    micro_batches: dict[str, int] = {}
    for name, work in parts.items():
        summary |= {f"{name}: {line}": value for line, value in work.summary.items()}
        limits |= work.completion_limits
        micro_batches |= work.micro_batches
    return Workload(
        summary=summary,
        trains=any(work.trains for work in works),
        generates=any(work.generates for work in works),
        generates_with_trained_weights=any(work.generates_with_trained_weights for work in works),
        generates_in_training=any(work.generates_in_training for work in works),
        holds_reference=any(work.holds_reference for work in works),
        temperature=max((work.temperature for work in works), default=0.0),
        tokens_generated=_sum([work.tokens_generated for work in works]),
        tokens_trained=_sum([work.tokens_trained for work in works]),
        completion_limits=limits,
        micro_batches=micro_batches,
    )


def _sum(counts: list[int | None]) -> int | None:
    """The sum; None if one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
