"""`cold_start`: teach a response format on the model's own right answers."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.formats.formats import AUTO, FORMATS, ResponseFormat
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.stages.base import Reads, StageSettings

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

TAUGHT = tuple(name for name, fmt in FORMATS.items() if fmt.taught)
"""Formats that a model has to be taught."""


@dataclass(frozen=True)
class ColdStart(StageSettings):
    """Sample the initial model, keep what is right and came to its end, fine-tune on it in the format to be taught.

    budget: every right answer, labeled with its true length, `<budget>length</budget><solution>answer</solution>`
    (SelfBudgeter, section on cold start; epochs, learning rate and batch are ours, the paper gives none).
    difficulty: one right answer a problem under AdaCtrl's tag, the shortest where the problem is easy, the longest
    where it is hard (ours, after AdaCtrl's mixture of short easy and long hard solutions).
    """

    name: str = "cold_start"
    format: str = "auto"
    """The format to teach: auto (the reward's, or budget if that needs no teaching), budget or difficulty."""
    problems: int | None = 2800
    """Most training problems to sample; null for all."""
    samples: int | None = None
    """Completions of each problem; null: 1, or 8 for difficulty, which is judged by the share that is right."""
    temperature: float = 1.0
    """Of the sampling."""
    max_new_tokens: int = 420
    """Longest completion to sample, in tokens."""
    epochs: float = 2.5
    """Passes over what was kept."""
    steps: int | None = None
    """Optimizer steps; null: as many as `epochs` take."""
    tokens_per_step: int = 4096
    """Padded tokens an optimizer step."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2e-3, 20, "cosine", 0.02, (0.9, 0.95), 0.01))
    """The learning rate and its schedule."""
    save_every: int = 200
    """Steps between states to resume from."""
    check_problems: int = 210
    """Held-out problems on which format and match are measured afterwards; 0 for none."""

    executor: ClassVar[str] = "budgetrl.stages.cold_start"

    def __post_init__(self) -> None:
        require_option(self, ("auto", *TAUGHT), "format")
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
                "format": self.taught(config).name,
                "problems sampled": self.problems or "all",
                "completions a problem": samples,
                "optimizer steps": self.steps or f"{self.epochs:g} epochs",
                "padded tokens a step": self.tokens_per_step,
            },
            trains=True,
            generates=True,
            generates_with_trained_weights=self.check_problems > 0,
            tokens_generated=sampled and sampled + checked,
            tokens_trained=self.steps * self.tokens_per_step
            if self.steps
            else sampled and math.ceil(self.epochs * sampled),
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
            micro_batches={"stage.tokens_per_device": self.tokens_per_device},
        )

    def reads(self, config: "Config") -> Reads:
        return [(config.dataset, "train"), *([(config.dataset, "eval")] if self.check_problems else [])]

    def errors(self, config: "Config") -> list[Message]:
        errors = []
        if self.taught(config).name == "difficulty" and self.samples_per_problem(config) == 1:
            text = "a problem's difficulty is judged by several samples"
            errors.append(Message("stage.samples", text, "set 2 or more, or null"))
        if self.check_problems and not config.rollout.capabilities.follows_training:
            text = f"rollout={config.rollout.name} can sample the initial model, but not check the trained one"
            errors.append(Message("stage.check_problems", text, "set 0"))
        return errors

    def taught(self, config: "Config") -> ResponseFormat:
        """The format that this stage teaches."""
        read = config.reward.needs_format if config.reward.needs_format in TAUGHT else "budget"
        return config.model.response_format(read if self.format == AUTO else self.format)

    def samples_per_problem(self, config: "Config") -> int:
        """Completions of each problem."""
        return self.samples or (8 if self.taught(config).name == "difficulty" else 1)
