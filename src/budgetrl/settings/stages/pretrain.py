"""`pretrain`: train the base model of a generated task from scratch, on solutions that the task generates."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.model import BUDGET_STYLES
from budgetrl.data.mini.tasks import TASKS
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.stages.base import DatasetSplits, StageSettings
from budgetrl.settings.stages.evaluate import Evaluate

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Pretrain(StageSettings):
    """Train a model from scratch on the generated task of `dataset`.

    A share of the prompts has a length hint, and the solution then has the number of re-checks that comes closest to
    it. This makes the length controllable by budgets later.
    """

    name: str = "pretrain"
    budget_style: str = "grid"
    """How the tokenizer encodes budgets: grid (one token per budget) or digits."""
    steps: int = 7000
    """Optimizer steps."""
    tokens_per_step: int = 4096
    """Padded tokens per optimizer step."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Maximum padded tokens per micro-batch."""
    hinted_share: float = 0.5
    """Share of prompts with a length hint."""
    decision_weight: float = 5.0
    """Loss weight of the words that decide the length; all other words have weight 1."""
    decision_weight_until: float = 0.8
    """Share of the steps after which these words have weight 1 too."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(5e-3, 100, "cosine", 0.02, (0.9, 0.95), 0.01))
    """Learning rate, schedule and other optimizer settings."""
    save_every: int = 500
    """Steps between saved states, from which an interrupted run resumes."""

    executor: ClassVar[str] = "budgetrl.stages.pretrain"

    def __post_init__(self) -> None:
        require_option(self, BUDGET_STYLES, "budget_style")
        require_range(self, 1, math.inf, "steps", "tokens_per_step", "tokens_per_device", "save_every")
        require_range(self, 0, 1, "hinted_share", "decision_weight_until")

    def workload(self, config: "Config") -> Workload:
        tokens = self.steps * self.tokens_per_step
        return Workload(
            summary={"optimizer steps": self.steps, "padded tokens": tokens, "objective": config.objective.name},
            trains=True,
            generates=True,
            generates_with_trained_weights=True,
            tokens_generated=self.final_evaluation().workload(config).tokens_generated,
            tokens_trained=tokens,
            completion_limits={},  # the final evaluation's limit is not a key that the user can set here
            micro_batches={"stage.tokens_per_device": self.tokens_per_device},
        )

    def errors(self, config: "Config") -> list[Message]:
        if isinstance(config.dataset, GeneratedSettings):
            return []
        return [Message("dataset.source", "stage=pretrain needs a generated task", f"use one of {', '.join(TASKS)}")]

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return self.final_evaluation().dataset_splits(config)

    def final_evaluation(self) -> Evaluate:
        """Return the evaluation of the base model at the end, in the plain format on held-out problems."""
        return Evaluate(format="plain")
