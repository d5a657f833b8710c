"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.formats.formats import FORMAT_NAMES
from budgetrl.report.reading import missing_evaluation
from budgetrl.settings.stages.base import Reads, StageSettings, chosen_format, evaluated_sets, format_errors

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Evaluate(StageSettings):
    """Free budgets on every data set, then each pre-filled budget on some of the problems."""

    name: str = "evaluate"
    format: str = "auto"
    """auto (the reward's, else plain), or plain for a model that has not been taught it, budget, ..."""
    datasets: tuple[str, ...] = ()
    """Options of `dataset` or JSONL files to evaluate on; empty: the held-out part of `dataset`."""
    problems: int | None = None
    """Most problems of each data set; null for all."""
    samples: int = 1
    """Completions of each problem."""
    temperature: float = 1.0
    """0 is greedy."""
    max_new_tokens: int = 420
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
        require_option(self, FORMAT_NAMES, "format")
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems", "budget_problems")
        for key in ("budgets", "cutoffs"):
            grid = list(getattr(self, key))
            require(min(grid, default=1) >= 1, key, f"{grid} are not all 1 token or more")
            require(len({*grid}) == len(grid), key, f"{grid} name one twice")

    def workload(self, config: "Config") -> Workload:
        summary: dict[str, object] = {
            "data sets": ", ".join(evaluated_sets(config)),
            "completions a problem": self.samples,
            "budgets given": ", ".join(map(str, self.budgets)) or "none",
            "cut-offs": ", ".join(map(str, self.cutoffs)) or "none",
        }
        if self.against:
            summary["compared with"] = self.against
        return Workload(
            summary=summary,
            generates=True,
            tokens_generated=self._tokens_generated(config),
            completion_limits={"stage.max_new_tokens": self.max_new_tokens},
        )

    def _tokens_generated(self, config: "Config") -> int | None:
        """Of all passes, if every completion runs into the limit."""
        completions = 0
        for dataset in evaluated_sets(config).values():
            count = dataset.count("eval", self.problems)
            if count is None:
                return None
            given = len(self.budgets) * min(count, self.budget_problems or count)
            completions += (count + given) * self.samples
        return completions * self.max_new_tokens

    def reads(self, config: "Config") -> Reads:
        return [(dataset, "eval") for dataset in evaluated_sets(config).values()]

    def errors(self, config: "Config") -> list[Message]:
        fmt = chosen_format(self.format, config)
        if self.budgets and fmt.budget_in is None:
            return [Message("stage.budgets", f"the {fmt.name} format has no budget to give", "set stage.budgets=[]")]
        return format_errors(self.format, config) if fmt.budget_in == "prompt" else []

    def warnings(self, config: "Config") -> list[Message]:
        return [] if self.against is None else missing_evaluation("stage.against", Path(self.against))
