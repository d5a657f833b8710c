"""`evaluate`: measure a model's accuracy, response length and budget adherence."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require, require_count, require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import AUTO, PLAIN, require_format
from budgetrl.report.reading import evaluation_errors
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.checkpoint import learned_by
from budgetrl.settings.stages.base import DatasetSplits, StageSettings, evaluated_datasets, prompt_budget_errors

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Evaluate(StageSettings):
    """Evaluate the model on every data set with its own budgets, then on some problems with each given budget."""

    name: str = "evaluate"
    format: str = "auto"
    """Response format to prompt for: auto (the format that the checkpoint's budgetrl.json names, else plain), plain,
    budget, or the import path of your own format."""
    datasets: tuple[str, ...] = ()
    """Data sets to evaluate on: options of `dataset`, or JSONL files; empty: the held-out part of `dataset`."""
    problems: int | None = None
    """Maximum number of problems per data set; null: all."""
    samples: int = 1
    """Completions per problem."""
    temperature: float = 1.0
    """Sampling temperature; 0: greedy."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Maximum tokens per completion."""
    budgets: tuple[int, ...] = ()
    """Budgets in tokens to give the model, pre-filled or in the prompt, to measure how well they control length."""
    budget_problems: int | None = 210
    """Maximum number of problems for each given budget and for the cutoffs, so that both use the same problems."""
    cutoffs: tuple[int, ...] = ()
    """Lengths in tokens at which to measure accuracy if answers were cut off there. Uses the same completions: an
    answer counts as right only if it ends by the cutoff."""
    against: str | None = None
    """Folder of a finished evaluation of the same problems, such as the initial model's (`initial` in the folder of a
    pipeline). Compression and change in accuracy are measured against it; null: no comparison."""

    executor: ClassVar[str] = "budgetrl.stages.evaluate"

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems", "budget_problems")
        for key in ("budgets", "cutoffs"):
            lengths = list(getattr(self, key))
            require(min(lengths, default=1) >= 1, key, f"every number must be 1 or more, got {lengths}")
            require(len({*lengths}) == len(lengths), key, f"has duplicates: {lengths}", "remove them")

    def workload(self, config: "Config") -> Workload:
        summary: dict[str, object] = {
            "format": f"{self.resolve_format(config).name} ({self._format_source(config)})",
            "data sets": ", ".join(evaluated_datasets(config)),
            "completions per problem": self.samples,
            "given budgets": ", ".join(map(str, self.budgets)) or "none",
            "cutoffs": ", ".join(map(str, self.cutoffs)) or "none",
        }
        if self.against:
            summary["compared with"] = self.against
        return Workload(
            summary=summary,
            generates=True,
            temperature=self.temperature,
            tokens_generated=self._tokens_generated(config),
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
        )

    def _tokens_generated(self, config: "Config") -> int | None:
        """Return the tokens of all passes if every completion reaches the limit; None if problems cannot be counted."""
        completions = 0
        for dataset in evaluated_datasets(config).values():
            problems = dataset.count("eval", self.problems)
            if problems is None:
                return None
            # One pass over all problems with the model's own budgets, and one pass per given budget.
            with_given_budget = len(self.budgets) * min(problems, self.budget_problems or problems)
            completions += (problems + with_given_budget) * self.samples
        return completions * self.max_new_tokens

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(dataset, "eval") for dataset in evaluated_datasets(config).values()]

    def errors(self, config: "Config") -> list[Message]:
        fmt = self.resolve_format(config)
        if self.budgets and fmt.budget_in is None:
            text = f"the {fmt.name} format ({self._format_source(config)}) has no budgets"
            return [Message("stage.budgets", text, "set stage.budgets=[], or set stage.format to one with budgets")]
        return prompt_budget_errors(fmt, config)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        if self.format != AUTO:
            return config.model.response_format(self.format)
        learned = learned_by(config.model)
        return learned.format if learned else config.model.response_format(PLAIN)

    def _format_source(self, config: "Config") -> str:
        """Return where the format comes from, for the plan and for messages."""
        if self.format != AUTO:
            return "set by stage.format"
        learned = learned_by(config.model)
        if learned is None:
            return "the checkpoint has no budgetrl.json"
        return "learned by the checkpoint" if learned.format.taught else "the checkpoint learned no other format"

    def warnings(self, config: "Config") -> list[Message]:
        return [] if self.against is None else evaluation_errors("stage.against", Path(self.against))
