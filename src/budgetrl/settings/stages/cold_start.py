"""`cold_start`: teach a response format by fine-tuning on the model's own right answers."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require, require_count, require_range
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import AUTO, PLAIN, format_class, require_format
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.stages.base import DatasetSplits, StageSettings, format_of_reward

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

DEFAULT_FORMAT = "budget"
"""The format taught if neither the stage nor the reward requires one."""


@dataclass(frozen=True)
class ColdStart(StageSettings):
    """Sample the initial model, keep right and complete answers, and fine-tune on them in the format to be taught.

    The format decides which right answers are kept and how they are rewritten. `budget` keeps all of them and adds
    their true lengths as budgets (SelfBudgeter, section on cold start; epochs, learning rate and batch size are ours,
    because the paper gives none). `difficulty` keeps one per problem and adds its tag.
    """

    name: str = "cold_start"
    format: str = "auto"
    """Format to teach: auto (the reward's format, or budget if that needs no teaching), budget, difficulty, or the
    import path of your own format."""
    problems: int | None = 2800
    """Maximum number of training problems to sample; null: all."""
    samples: int | None = None
    """Completions per problem; null: 1, or 8 for difficulty, which depends on the share of right answers."""
    temperature: float = 1.0
    """Sampling temperature; 0: greedy."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Maximum tokens per sampled completion."""
    epochs: float = 2.5
    """Passes over the kept answers."""
    steps: int | None = None
    """Optimizer steps; null: computed from `epochs`."""
    tokens_per_step: int = 4096
    """Padded tokens per optimizer step."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Maximum padded tokens per micro-batch."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2e-3, 20, "cosine", 0.02, (0.9, 0.95), 0.01))
    """Learning rate, schedule and other optimizer settings."""
    save_every: int = 200
    """Steps between saved states, from which an interrupted run resumes."""
    check_problems: int = 210
    """Held-out problems used to measure format and budget accuracy after training; 0: no measurement."""

    executor: ClassVar[str] = "budgetrl.stages.cold_start"
    format_mismatch: ClassVar[Message] = Message(
        "model.path", "", "a cold start needs a model without a learned format; use stage=grpo to train this one"
    )

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        if self.format != AUTO and not format_class(self.format).taught:
            text = f"the {self.format} format needs no teaching"
            raise SettingError("format", text, "set budget, difficulty, or your own format with taught = True")
        require_range(self, 1, math.inf, "max_new_tokens", "tokens_per_step", "tokens_per_device")
        require_range(self, 1, math.inf, "save_every")
        require_range(self, 0, math.inf, "temperature", "epochs", "check_problems")
        trains = self.epochs > 0 or self.steps is not None
        require(trains, "epochs", "0 would teach nothing", "set a higher number, or set steps")
        require_count(self, "problems", "samples", "steps")

    def workload(self, config: "Config") -> Workload:
        """Return the work. Token counts assume that every completion is right and as long as possible."""
        samples = self.samples_per_problem(config)
        sampled = trained = None  # tokens; unknown if the problems cannot be counted before they are loaded
        problems = config.dataset.count("train", self.problems)
        if problems is not None:
            sampled = problems * samples * self.max_new_tokens
            trained = math.ceil(self.epochs * sampled)
        if self.steps:
            trained = self.steps * self.tokens_per_step
        checked = self.check_problems * self.max_new_tokens
        return Workload(
            summary={
                "format": self.taught_format(config).name,
                "problems sampled": self.problems or "all",
                "completions per problem": samples,
                "optimizer steps": self.steps or f"{self.epochs:g} epochs",
                "padded tokens per step": self.tokens_per_step,
                "objective": config.objective.name,
            },
            trains=True,
            generates=True,
            temperature=self.temperature,
            generates_with_trained_weights=self.check_problems > 0,
            tokens_generated=None if sampled is None else sampled + checked,
            tokens_trained=trained,
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
            micro_batches={"stage.tokens_per_device": self.tokens_per_device},
        )

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        splits: DatasetSplits = [(config.dataset, "train")]
        if self.check_problems:
            splits.append((config.dataset, "eval"))
        return splits

    def resolve_format(self, config: "Config") -> ResponseFormat:
        # The initial model does not know the format yet, so it is prompted plainly.
        return config.model.response_format(PLAIN)

    def errors(self, config: "Config") -> list[Message]:
        errors = []
        taught = self.taught_format(config)
        if taught.samples_to_teach > 1 and self.samples_per_problem(config) == 1:
            text = f"the {taught.name} format compares several samples of each problem"
            errors.append(Message("stage.samples", text, "set 2 or more, or null"))
        if self.check_problems and not config.rollout.capabilities.follows_training:
            text = f"rollout={config.rollout.name} can sample the initial model, but not the trained one"
            errors.append(Message("stage.check_problems", text, "set 0"))
        return errors

    def taught_format(self, config: "Config") -> ResponseFormat:
        """Return the format that this stage teaches."""
        if self.format != AUTO:
            return config.model.response_format(self.format)
        reward_format = format_of_reward(config)
        return reward_format if reward_format.taught else config.model.response_format(DEFAULT_FORMAT)

    def samples_per_problem(self, config: "Config") -> int:
        """Return the number of completions sampled per problem."""
        return self.samples or self.taught_format(config).samples_to_teach
