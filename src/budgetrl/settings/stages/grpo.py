"""`grpo`: budget-guided group-relative policy optimization."""

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
    """Roll out, reward, step: with `algorithm`, on the `reward`, of a model that knows the format."""

    name: str = "grpo"
    format: str = "auto"
    """What the model is asked for: auto (what the reward reads, else what the checkpoint learned, else plain), plain,
    budget, or the import path of a format of your own."""
    steps: int = 240
    """Optimizer steps."""
    prompts_per_step: int = 16
    """Prompts of an optimizer step, over all ranks."""
    group_size: int = 8
    """Completions of each prompt."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Most padded tokens in one micro-batch."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Longest completion, in tokens; a longer one is cut off and counts as malformed."""
    temperature: float = 1.0
    """Temperature of the rollouts."""
    problems: int | None = 1600
    """Most training problems; null for all."""
    labels: str | None = None
    """A labels.jsonl with b_max of each problem; null: the model is asked itself, before it is trained."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """The learning rate and its schedule."""
    eval_every: int = 60
    """Steps between evaluations on held-out problems; 0: only at the end."""
    eval_problems: int = 210
    """Held-out problems of such an evaluation."""
    save_every: int = 20
    """Steps between states to resume from."""
    log_every: int = 20
    """Steps between groups written to completions.jsonl."""

    executor: ClassVar[str] = "budgetrl.stages.grpo"

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        counts = ("steps", "prompts_per_step", "tokens_per_device", "max_new_tokens", "save_every", "log_every")
        require_range(self, 1, math.inf, *counts, "eval_problems")
        require_range(self, 2, math.inf, "group_size")
        require_range(self, 0, math.inf, "eval_every")
        require_count(self, "problems")
        require_range(self, 1e-3, math.inf, "temperature")

    def workload(self, config: "Config") -> Workload:
        algorithm = config.algorithm
        per_step = self.prompts_per_step * self.group_size
        updates = algorithm.optimizer_steps_per_rollout
        summary: dict[str, object] = {
            "format": self.resolve_format(config).name,
            "optimizer steps": self.steps,
            "rollouts": math.ceil(self.steps / updates),
            "labels": self._labels_from(config),
            "prompts a step": self.prompts_per_step,
            "completions a step": f"{per_step} ({self.prompts_per_step} prompts x {self.group_size})",
            "completions a rollout": per_step * updates,
        }
        if algorithm.groups.drops_equal:
            summary["rollouts to fill a batch, at most"] = algorithm.groups.max_rollouts
        summary["completions in all"] = per_step * self.steps
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

    def _tokens_generated(self, config: "Config") -> int | None:
        """Tokens of rollouts, evaluations and labels, if every completion runs into the limit."""
        attempts = config.algorithm.groups.max_rollouts if config.algorithm.groups.drops_equal else 1
        rollouts = attempts * self.steps * self.prompts_per_step * self.group_size
        evaluations = sum(is_due(step, self.eval_every, self.steps) for step in range(1, self.steps + 1))
        own = (rollouts + self.eval_problems * evaluations) * self.max_new_tokens
        if not config.reward.needs_b_max or self.labels:
            return own
        labels = self.label_stage(config).workload(config).tokens_generated
        return None if labels is None else own + labels

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(config.dataset, "train"), (config.dataset, "eval")]

    def errors(self, config: "Config") -> list[Message]:
        fmt = self.resolve_format(config)
        errors = reward_format_errors(fmt, config) or prompt_budget_errors(fmt, config)
        errors += length_errors("stage.max_new_tokens", self.max_new_tokens, config)
        errors += config.reward.errors(config.algorithm)
        if config.reward.needs_validation and not self.eval_every:
            text = f"reward={config.reward.name} learns from evaluations"
            errors.append(Message("stage.eval_every", text, "set it to 1 or more"))
        if self.labels and not Path(self.labels).is_file():
            errors.append(Message("stage.labels", f"there is no file {self.labels}", "stage=label writes one"))
        return errors

    def warnings(self, config: "Config") -> list[Message]:
        warnings = config.reward.length_warnings(self.max_new_tokens, "stage.max_new_tokens")
        if self.tokens_per_device < self.max_new_tokens:
            text = "is below stage.max_new_tokens: long completions train one by one"
            warnings.append(Message("stage.tokens_per_device", text))
        if self.steps % config.algorithm.optimizer_steps_per_rollout:
            text = "is no multiple of algorithm.optimizer_steps_per_rollout: the last rollout is cut"
            warnings.append(Message("stage.steps", text))
        return warnings + _algorithm_warnings(self.resolve_format(config), config)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        if self.format != AUTO:
            return config.model.response_format(self.format)
        if config.reward.needs_format:
            return format_of_reward(config)
        learned = None if is_family(config.model.path) else learned_by(config.model)
        return learned.format if learned else config.model.response_format(PLAIN)

    def label_stage(self, config: "Config") -> Label:
        """How the model is asked itself for reference lengths, with this stage's own limits."""
        return Label(
            format=self.resolve_format(config).name, problems=self.problems, max_new_tokens=self.max_new_tokens
        )

    def _labels_from(self, config: "Config") -> str:
        if not config.reward.needs_b_max:
            return "not needed"
        return self.labels or f"asked of the model first, {Label.samples} completions a problem"


def _algorithm_warnings(asked: ResponseFormat, config: "Config") -> list[Message]:
    algorithm, warnings = config.algorithm, []
    if asked.budget_in == "response" and not algorithm.budget_entropy.start:
        warnings.append(
            Message(
                "algorithm.budget_entropy.start",
                "0 lets budgets lock onto one number",
                "algorithm=budget_grpo or algorithm.budget_entropy.start=... avoids it",
            )
        )
    if algorithm.mismatch.masks and not algorithm.mismatch.floor:
        warnings.append(
            Message(
                "algorithm.mismatch.floor",
                f"0 makes {algorithm.mismatch.correction} cut above mismatch.cap alone",
                "IcePop's masks go from 0.5 to 5",
            )
        )
    return warnings
