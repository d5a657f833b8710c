"""`grpo`: train a model with group-relative policy optimization, on any reward."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.messages import Message
from budgetrl.core.schedules import is_due
from budgetrl.core.workload import Workload
from budgetrl.data.mini.shipped import is_family
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import AUTO, PLAIN, require_format
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.checkpoint import learned_by
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.stages.base import (
    DatasetSplits,
    StageSettings,
    format_of_reward,
    length_errors,
    prompt_budget_errors,
    reward_format_errors,
)
from budgetrl.settings.stages.label import Label

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Grpo(StageSettings):
    """Sample completions, score them with `reward`, and train the model with `algorithm`.

    If the format needs teaching, the model should already know it: run stage=cold_start first, or use stage=pipeline.
    """

    name: str = "grpo"
    format: str = "auto"
    """Response format to prompt for: auto (the format that the reward requires, else the one that the checkpoint
    learned, else plain), plain, budget, or the import path of your own format."""
    steps: int = 240
    """Optimizer steps."""
    prompts_per_step: int = 16
    """Prompts per optimizer step, over all ranks."""
    group_size: int = 8
    """Completions per prompt."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Maximum padded tokens per micro-batch."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Maximum tokens per completion. Completions that reach it are truncated and count as malformed."""
    temperature: float = 1.0
    """Sampling temperature of the rollouts."""
    problems: int | None = 1600
    """Maximum number of training problems; null: all."""
    labels: str | None = None
    """A labels.jsonl with b_max of each problem; null: the labels are sampled from the model before training."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Learning rate, schedule and other optimizer settings."""
    eval_every: int = 60
    """Steps between evaluations on held-out problems; 0: only at the end."""
    eval_problems: int = 210
    """Held-out problems per evaluation during training."""
    save_every: int = 20
    """Steps between saved states, from which an interrupted run resumes."""
    log_every: int = 20
    """Steps between groups of completions written to completions.jsonl."""

    executor: ClassVar[str] = "budgetrl.stages.grpo"

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        counts = ("steps", "prompts_per_step", "tokens_per_device", "max_new_tokens", "save_every", "log_every")
        require_range(self, 1, math.inf, *counts, "eval_problems")
        require_range(self, 2, math.inf, "group_size")  # advantages compare the completions of a group
        require_range(self, 0, math.inf, "eval_every")
        require_count(self, "problems")
        require_range(self, 1e-3, math.inf, "temperature")  # greedy completions of a group would all be equal

    def workload(self, config: "Config") -> Workload:
        algorithm = config.algorithm
        per_step = self.prompts_per_step * self.group_size
        updates = algorithm.optimizer_steps_per_rollout
        summary: dict[str, object] = {
            "format": self.resolve_format(config).name,
            "optimizer steps": self.steps,
            "rollouts": self._rollouts(config),
            "labels": self._labels_from(config),
            "prompts per step": self.prompts_per_step,
            "completions per step": f"{per_step} ({self.prompts_per_step} prompts x {self.group_size})",
            "completions per rollout": per_step * updates,
        }
        if algorithm.groups.drops_equal:
            summary["maximum rollouts per batch"] = algorithm.groups.max_rollouts
        summary["total completions"] = per_step * self.steps
        return Workload(
            summary=summary,
            trains=True,
            generates=True,
            temperature=self.temperature,
            generates_with_trained_weights=True,
            generates_in_training=True,
            holds_reference=algorithm.kl.coefficient > 0,
            tokens_generated=self._tokens_generated(config),
            tokens_trained=per_step * self.steps * self.max_new_tokens,
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
            micro_batches={"stage.tokens_per_device": self.tokens_per_device},
        )

    def _rollouts(self, config: "Config") -> int:
        # Dynamic sampling may need several rollouts for a batch. They count as one here, and for the reward.
        return math.ceil(self.steps / config.algorithm.optimizer_steps_per_rollout)

    def _tokens_generated(self, config: "Config") -> int | None:
        """Return the tokens of rollouts, evaluations and labels if every completion reaches the limit."""
        groups = config.algorithm.groups
        rollouts_per_batch = groups.max_rollouts if groups.drops_equal else 1
        sampled = rollouts_per_batch * self.steps * self.prompts_per_step * self.group_size
        evaluations = sum(is_due(step, self.eval_every, self.steps) for step in range(1, self.steps + 1))
        tokens = (sampled + self.eval_problems * evaluations) * self.max_new_tokens
        if not config.reward.needs_b_max or self.labels:
            return tokens
        label_tokens = self.label_stage(config).workload(config).tokens_generated
        return None if label_tokens is None else tokens + label_tokens

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(config.dataset, "train"), (config.dataset, "eval")]

    def errors(self, config: "Config") -> list[Message]:
        fmt = self.resolve_format(config)
        errors = reward_format_errors(fmt, config) or prompt_budget_errors(fmt, config)
        errors += length_errors("stage.max_new_tokens", self.max_new_tokens, config)
        errors += config.reward.errors(config.algorithm)
        if config.reward.needs_validation and not self.eval_every:
            text = f"reward={config.reward.name} needs evaluations during training"
            errors.append(Message("stage.eval_every", text, "set 1 or more"))
        if self.labels and not Path(self.labels).is_file():
            errors.append(Message("stage.labels", f"there is no file {self.labels}", "stage=label writes one"))
        return errors

    def warnings(self, config: "Config") -> list[Message]:
        warnings = config.reward.length_warnings(self.max_new_tokens, "stage.max_new_tokens")
        warnings += config.reward.rollout_warnings(self._rollouts(config))
        if self.tokens_per_device < self.max_new_tokens:
            text = "is below stage.max_new_tokens, so each long completion is a micro-batch of its own"
            warnings.append(Message("stage.tokens_per_device", text))
        if self.steps % config.algorithm.optimizer_steps_per_rollout:
            text = "is not a multiple of algorithm.optimizer_steps_per_rollout, so the last rollout is used in part"
            warnings.append(Message("stage.steps", text))
        return warnings + _algorithm_warnings(self.resolve_format(config), config)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        if self.format != AUTO:
            return config.model.response_format(self.format)
        if config.reward.needs_format:
            return format_of_reward(config)
        # The name of a family (`mini`) selects a checkpoint by format. Plain selects its base model.
        learned = None if is_family(config.model.path) else learned_by(config.model)
        return learned.format if learned else config.model.response_format(PLAIN)

    def label_stage(self, config: "Config") -> Label:
        """Return the stage that labels the training problems with this model, within this stage's limits."""
        return Label(
            format=self.resolve_format(config).name, problems=self.problems, max_new_tokens=self.max_new_tokens
        )

    def _labels_from(self, config: "Config") -> str:
        if not config.reward.needs_b_max:
            return "not needed"
        return self.labels or f"sampled from the model first, {Label.samples} completions per problem"


def _algorithm_warnings(fmt: ResponseFormat, config: "Config") -> list[Message]:
    """Return warnings about the `algorithm` group in combination with this response format."""
    algorithm, warnings = config.algorithm, []
    if fmt.budget_in == "response" and not algorithm.budget_entropy.start:
        text = "with 0, the model may write the same budget for every problem"
        hint = "use algorithm=budget_grpo, or set a small positive number"
        warnings.append(Message("algorithm.budget_entropy.start", text, hint))
    if algorithm.mismatch.masks and not algorithm.mismatch.floor:
        text = f"with 0, {algorithm.mismatch.correction} masks only ratios above mismatch.cap"
        warnings.append(Message("algorithm.mismatch.floor", text, "IcePop uses floor=0.5 and cap=5"))
    return warnings
