"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.budget.checks import require, require_count, require_option, require_range
from budgetrl.budget.format import FORMAT_NAMES
from budgetrl.budget.length_control import at_cutoffs, budget_area
from budgetrl.budget.metrics import summarise
from budgetrl.budget.records import Problem
from budgetrl.data.problems import DatasetSpec
from budgetrl.policy.loading import load_policy
from budgetrl.rollout.collect import Collector
from budgetrl.stages.base import Context, Job, Stage, chosen_format, format_faults
from budgetrl.stages.generation import (
    Row,
    asked_budgets,
    collector_for,
    completion_row,
    open_verifier,
    outcomes_by_problem,
    problems_of,
    seeds_for,
    work_through,
)

TABLE_ROWS = 200
"""Completions in the tracker's table; completions.jsonl has all."""


@dataclass(frozen=True)
class Evaluate(Stage):
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
    """Most problems for each pre-filled budget."""
    cutoffs: tuple[int, ...] = ()
    """Lengths at which to stop every answer, in tokens, from the same completions: accuracy is what had ended."""

    def __post_init__(self) -> None:
        require_option(self, FORMAT_NAMES, "format")
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems", "budget_problems")
        for key in ("budgets", "cutoffs"):
            grid = list(getattr(self, key))
            require(min(grid, default=1) >= 1, key, f"{grid} are not all 1 token or more")
            require(len({*grid}) == len(grid), key, f"{grid} name one twice")

    def plan(self, job: Job, ranks: int) -> dict[str, object]:
        return {
            "data sets": ", ".join(_sets(job)),
            "completions a problem": self.samples,
            "budgets given": ", ".join(map(str, self.budgets)) or "none",
            "cut-offs": ", ".join(map(str, self.cutoffs)) or "none",
        }

    def check(self, job: Job) -> list[str]:
        fmt = chosen_format(self.format, job)
        if self.budgets and fmt.budget_in is None:
            return [f"stage.budgets: the {fmt.name} format has no budget to give; set stage.budgets=[]"]
        return format_faults(self.format, job) if fmt.budget_in == "prompt" else []

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        fmt = chosen_format(self.format, job)
        policy = load_policy(job.model, fmt, ctx.world.device)
        result: dict[str, float] = {}
        rows: list[Row] = []
        with open_verifier(ctx) as verifier:
            collector = collector_for(policy, fmt, self, verifier, job)
            for name, spec in _sets(job).items():
                problems = problems_of(spec, "eval", self.problems, verifier, ctx)
                passes: dict[int | None, list[Row]] = {}
                for budget in (None, *self.budgets):
                    some = problems if budget is None else problems[: self.budget_problems]
                    passes[budget] = self._write(name, budget, some, collector, job, ctx)
                rows += [row for written in passes.values() for row in written]
                result |= {f"{name}/{key}": value for key, value in self._summary(passes).items()}
        ctx.folder.rewrite(ctx.folder.completions, rows)
        ctx.tracker.log_completions(rows[:TABLE_ROWS], step=0)
        return result

    def _write(
        self,
        name: str,
        budget: int | None,
        problems: Sequence[Problem],
        collector: Collector,
        job: Job,
        ctx: Context,
    ) -> list[Row]:
        """A row per completion; kept in a file of its own until all of the evaluation is there."""

        def work(share: Sequence[Problem]) -> list[list[Row]]:
            drawn = asked_budgets(job, collector.fmt, "evaluate", share) if budget is None else [budget] * len(share)
            groups = collector.collect(share, seeds_for(job, "evaluate", share, self.samples), drawn)
            return [[{"dataset": name, "prefilled": budget, **completion_row(s)} for s in group] for group in groups]

        pass_name = "own budgets" if budget is None else f"budget {budget}"
        path = ctx.folder.path / "partial" / f"{name}, {pass_name}.jsonl"
        return work_through(problems, work, path, self.samples, f"{name}, {pass_name}", job, ctx)

    def _summary(self, passes: Mapping[int | None, Sequence[Row]]) -> dict[str, float]:
        """The numbers of one data set. Of a pre-filled budget, accuracy and length are of interest."""
        groups = {budget: outcomes_by_problem(written) for budget, written in passes.items()}
        summary = summarise(groups[None]) | verification_rates(passes[None]) | at_cutoffs(groups[None], self.cutoffs)
        given = {budget: groups[budget] for budget in self.budgets}
        for budget, controlled in given.items():
            metrics = summarise(controlled)
            keys = [key for key in ("accuracy", "accuracy_se", "length", "length_se") if key in metrics]
            summary |= {f"budget_{budget}/{key}": metrics[key] for key in keys}
        return summary | budget_area(given)


def verification_rates(rows: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Shares of answers that could not be read, and that could not be checked in time."""
    return {
        "verify/unparsed": fmean(not (row["parsed"] or row["timed_out"]) for row in rows),
        "verify/timeouts": fmean(bool(row["timed_out"]) for row in rows),
    }


def _sets(job: Job) -> Mapping[str, DatasetSpec]:
    return job.eval_datasets or {job.dataset.name: job.dataset}
