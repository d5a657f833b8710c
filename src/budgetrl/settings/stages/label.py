"""`label`: the reference length b_max of each training problem, from the initial model."""

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
"""The file in the run folder that holds b_max of each problem."""


@dataclass(frozen=True)
class Label(StageSettings):
    """b_max is the model's own length where it was right, and infinite where it was wrong (the paper,
    Formula 5, with one sample a problem). Of several samples the shortest right one counts (ours): one
    sample is often a long one, and then a long budget is not punished."""

    name: str = "label"
    format: str = "plain"
    """plain for a model before the cold start, budget for one after it."""
    problems: int | None = 1600
    """Most training problems; null for all."""
    samples: int = 4
    """Completions of each problem, the shortest right one of which counts. The paper: 1."""
    temperature: float = 1.0
    """0 is greedy. The paper does not say."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Longest completion, in tokens."""

    executor: ClassVar[str] = "budgetrl.stages.label"

    def __post_init__(self) -> None:
        require_format(self.format, auto=False)
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems")

    def workload(self, config: "Config") -> Workload:
        problems = config.dataset.count("train", self.problems)
        return Workload(
            summary={"problems": self.problems or "all", "completions a problem": self.samples},
            generates=True,
            temperature=self.temperature,
            tokens_generated=problems and problems * self.samples * self.max_new_tokens,
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
        )

    def resolve_format(self, config: "Config") -> ResponseFormat:
        return config.model.response_format(self.format)

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(config.dataset, "train")]
