"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

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
    """Free budgets on every data set, then each pre-filled budget on some of the problems."""

    name: str = "evaluate"
    format: str = "auto"
    """What the model is asked for: auto (what its checkpoint learned, as budgetrl.json says, else plain), plain,
    budget, or the import path of a format of your own."""
    datasets: tuple[str, ...] = ()
    """Options of `dataset` or JSONL files to evaluate on; empty: the held-out part of `dataset`."""
    problems: int | None = None
    """Most problems of each data set; null for all."""
    samples: int = 1
    """Completions of each problem."""
    temperature: float = 1.0
    """0 is greedy."""
    max_new_tokens: int = may_be_auto(420, Rule.COMPLETION)
    """Longest completion, in tokens."""
    budgets: tuple[int, ...] = ()
    """Budgets to pre-fill, or to ask for in the prompt, in tokens, to see how well they control the length."""
    budget_problems: int | None = 210
    """Most problems for each pre-filled budget, and for the cut-offs, so that both are of the same problems."""
    cutoffs: tuple[int, ...] = ()
    """Lengths at which to stop every answer, in tokens, from the same completions: accuracy is what had ended."""
    against: str | None = None
    """A finished evaluation of the same problems, such as the initial model's, or `initial` in a pipeline's folder:
    compression and change of accuracy are measured against it. Null: against nothing."""

    executor: ClassVar[str] = "budgetrl.stages.evaluate"

    def __post_init__(self) -> None:
        require_format(self.format, auto=True)
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems", "budget_problems")
        for key in ("budgets", "cutoffs"):
            grid = list(getattr(self, key))
            require(min(grid, default=1) >= 1, key, f"{grid} are not all 1 token or more")
            require(len({*grid}) == len(grid), key, f"{grid} name one twice")

    def workload(self, config: "Config") -> Workload:
        summary: dict[str, object] = {
            "format": f"{self.resolve_format(config).name}, {self._why(config)}",
            "data sets": ", ".join(evaluated_datasets(config)),
            "completions a problem": self.samples,
            "budgets given": ", ".join(map(str, self.budgets)) or "none",
            "cut-offs": ", ".join(map(str, self.cutoffs)) or "none",
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
        """Tokens of all passes, if every completion runs into the limit."""
        completions = 0
        for dataset in evaluated_datasets(config).values():
            count = dataset.count("eval", self.problems)
            if count is None:
                return None
            given = len(self.budgets) * min(count, self.budget_problems or count)
            completions += (count + given) * self.samples
        return completions * self.max_new_tokens

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        return [(dataset, "eval") for dataset in evaluated_datasets(config).values()]

    def errors(self, config: "Config") -> list[Message]:
        fmt = self.resolve_format(config)
        if self.budgets and fmt.budget_in is None:
            text = f"the {fmt.name} format ({self._why(config)}) has no budget to give"
            return [Message("stage.budgets", text, "set stage.budgets=[], or stage.format to one with budgets")]
        return prompt_budget_errors(fmt, config)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        if self.format != AUTO:
            return config.model.response_format(self.format)
        learned = learned_by(config.model)
        return learned.format if learned else config.model.response_format(PLAIN)

    def _why(self, config: "Config") -> str:
        """Why the model is asked in that format."""
        if self.format != AUTO:
            return "as stage.format says"
        learned = learned_by(config.model)
        if learned:
            return "which its checkpoint learned" if learned.format.taught else "since its checkpoint learned no other"
        return "since no budgetrl.json says that it learned another"

    def warnings(self, config: "Config") -> list[Message]:
        return [] if self.against is None else evaluation_errors("stage.against", Path(self.against))
