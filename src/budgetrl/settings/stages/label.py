"""`label`: sample the reference length b_max of each training problem from the initial model."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.workload import Workload
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import require_format
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.stages.base import DatasetSplits, StageSettings

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

LABELS = "labels.jsonl"
"""The file in the run folder that holds the b_max of each problem."""


@dataclass(frozen=True)
class Label(StageSettings):
    """Sample the reference length b_max of each training problem.

    b_max is the length of the model's own answer if it is right, and infinite if it is wrong (paper, Formula 5, with
    one sample per problem). With several samples, the shortest right answer counts (ours): a single sample is often
    long, and then the reward does not penalize long budgets.
    """

    name: str = "label"
    format: str = "plain"
    """Response format to prompt for: plain for a model before the cold start, budget for a model after it."""
    problems: int | None = 1600
    """Maximum number of training problems; null: all."""
    samples: int = 4
    """Completions per problem; the shortest right one gives b_max. The paper uses 1."""
    temperature: float = 1.0
    """Sampling temperature; 0: greedy. The paper does not state it."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Maximum tokens per completion."""

    executor: ClassVar[str] = "budgetrl.stages.label"

    def __post_init__(self) -> None:
        require_format(self.format, auto=False)
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems")

    def workload(self, config: "Config") -> Workload:
        problems = config.dataset.count("train", self.problems)
        tokens = None if problems is None else problems * self.samples * self.max_new_tokens
        return Workload(
            summary={"problems": self.problems or "all", "completions per problem": self.samples},
            generates=True,
            temperature=self.temperature,
            tokens_generated=tokens,
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
        )

    def resolve_format(self, config: "Config") -> ResponseFormat:
        return config.model.response_format(self.format)

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(config.dataset, "train")]
