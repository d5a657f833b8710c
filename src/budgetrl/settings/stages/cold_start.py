"""`cold_start`: teach a response format on the model's own right answers."""

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

USUAL = "budget"
"""The format that is taught where neither the stage nor the reward names one."""


@dataclass(frozen=True)
class ColdStart(StageSettings):
    """Sample the initial model, keep what is right and came to its end, fine-tune on it in the format to be taught.

    The format says which right answers are kept, and what stands around them. `budget`: every one, labeled with its
    true length (SelfBudgeter, section on cold start; epochs, learning rate and batch are ours, the paper gives none).
    `difficulty`: one a problem, under a tag.
    """

    name: str = "cold_start"
    format: str = "auto"
    """The format to teach: auto (the reward's, or budget if that needs no teaching), budget, difficulty, or the import
    path of a format of your own."""
    problems: int | None = 2800
    """Most training problems to sample; null for all."""
    samples: int | None = None
    """Completions of each problem; null: 1, or 8 for difficulty, which is judged by the share that is right."""
    temperature: float = 1.0
    """Temperature of the sampling; 0 is greedy."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Longest completion to sample, in tokens."""
    epochs: float = 2.5
    """Passes over what was kept."""
    steps: int | None = None
    """Optimizer steps; null: as many as `epochs` take."""
    tokens_per_step: int = 4096
    """Padded tokens an optimizer step."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Most padded tokens in one micro-batch."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2e-3, 20, "cosine", 0.02, (0.9, 0.95), 0.01))
    """The learning rate and its schedule."""
    save_every: int = 200
    """Steps between states to resume from."""
    check_problems: int = 210
    """Held-out problems on which format and match are measured afterwards; 0 for none."""

    executor: ClassVar[str] = "budgetrl.stages.cold_start"
    format_mismatch: ClassVar[Message] = Message(
        "model.path", "", "a cold start samples a model that learned no format; stage=grpo trains this one on"
    )

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        if self.format != AUTO and not format_class(self.format).taught:
            text = f"the {self.format} format needs no teaching"
            raise SettingError("format", text, "take budget, difficulty, or one of your own that says taught = True")
        require_range(self, 1, math.inf, "max_new_tokens", "tokens_per_step", "tokens_per_device")
        require_range(self, 1, math.inf, "save_every")
        require_range(self, 0, math.inf, "temperature", "epochs", "check_problems")
        require(self.epochs > 0 or self.steps is not None, "epochs", "0 would teach nothing", "give more, or set steps")
        require_count(self, "problems", "samples", "steps")

    def workload(self, config: "Config") -> Workload:
        """Tokens are counted as if all that is sampled were right and as long as can be."""
        problems = config.dataset.count("train", self.problems)
        samples = self.samples_per_problem(config)
        sampled = problems and problems * samples * self.max_new_tokens
        checked = self.check_problems * self.max_new_tokens
        return Workload(
            summary={
                "format": self.taught_format(config).name,
                "problems sampled": self.problems or "all",
                "completions a problem": samples,
                "optimizer steps": self.steps or f"{self.epochs:g} epochs",
                "padded tokens a step": self.tokens_per_step,
            },
            trains=True,
            generates=True,
            temperature=self.temperature,
            generates_with_trained_weights=self.check_problems > 0,
            tokens_generated=sampled and sampled + checked,
            tokens_trained=self.steps * self.tokens_per_step
            if self.steps
            else sampled and math.ceil(self.epochs * sampled),
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
            micro_batches={"stage.tokens_per_device": self.tokens_per_device},
        )

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(config.dataset, "train"), *([(config.dataset, "eval")] if self.check_problems else [])]

    def resolve_format(self, config: "Config") -> ResponseFormat:
        return config.model.response_format(PLAIN)

    def errors(self, config: "Config") -> list[Message]:
        errors = []
        taught = self.taught_format(config)
        if taught.samples_to_teach > 1 and self.samples_per_problem(config) == 1:
            text = f"the {taught.name} format is taught by comparing several samples of a problem"
            errors.append(Message("stage.samples", text, "set 2 or more, or null"))
        if self.check_problems and not config.rollout.capabilities.follows_training:
            text = f"rollout={config.rollout.name} can sample the initial model, but not check the trained one"
            errors.append(Message("stage.check_problems", text, "set 0"))
        return errors

    def taught_format(self, config: "Config") -> ResponseFormat:
        """The format that this stage teaches."""
        if self.format != AUTO:
            return config.model.response_format(self.format)
        of_reward = format_of_reward(config)
        return of_reward if of_reward.taught else config.model.response_format(USUAL)

    def samples_per_problem(self, config: "Config") -> int:
        """Completions of each problem."""
        return self.samples or self.taught_format(config).samples_to_teach
