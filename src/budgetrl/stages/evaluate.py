"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.records import Problem
from budgetrl.data.problems import DatasetSettings, count_problems
from budgetrl.data.spec import Split
from budgetrl.formats.formats import FORMAT_NAMES
from budgetrl.metrics.length_control import at_cutoffs, budget_area
from budgetrl.metrics.summary import summarize
from budgetrl.report.comparable import HASHES
from budgetrl.rollout.collect import Collector
from budgetrl.stages.against import Earlier, changes, missing_evaluation
from budgetrl.stages.base import Context, Job, Stage, chosen_format, format_faults, token_lines
from budgetrl.stages.generation import (
    asked_budgets,
    load_collector,
    open_verifier,
    problems_of,
    seeds_for,
    work_through,
)
from budgetrl.stages.provenance import Hashes, hashes_of
from budgetrl.stages.regrade import regrade_faults, regraded
from budgetrl.stages.rows import Row, completion_row, free_rows, outcomes_by_problem, verification_rates

PARTIAL = "partial"
"""A folder of rows by pass, to resume from; completions.jsonl has them all once the evaluation is done."""
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
    """Most problems for each pre-filled budget, and for the cut-offs, so that both are of the same problems."""
    cutoffs: tuple[int, ...] = ()
    """Lengths at which to stop every answer, in tokens, from the same completions: accuracy is what had ended."""
    regrade: str | None = None
    """A finished evaluation with these settings, whose completions are graded anew; null: they are written."""
    against: str | None = None
    """A finished evaluation of the same problems, such as the initial model's, or `initial` in a pipeline's folder:
    compression and change of accuracy are measured against it. Null: against nothing."""

    trains: ClassVar[bool] = False
    served: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_option(self, FORMAT_NAMES, "format")
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems", "budget_problems")
        for key in ("budgets", "cutoffs"):
            grid = list(getattr(self, key))
            require(min(grid, default=1) >= 1, key, f"{grid} are not all 1 token or more")
            require(len({*grid}) == len(grid), key, f"{grid} name one twice")

    def plan(self, job: Job) -> dict[str, object]:
        return {
            "data sets": ", ".join(_sets(job)),
            "completions a problem": self.samples,
            "budgets given": ", ".join(map(str, self.budgets)) or "none",
            "cut-offs": ", ".join(map(str, self.cutoffs)) or "none",
            **({"compared with": self.against} if self.against else {}),
            **token_lines(self._most_written(job)),
        }

    def _most_written(self, job: Job) -> int | None:
        """Tokens of all passes, if every completion runs into the limit."""
        if self.regrade:
            return 0
        counts = [count_problems(spec, "eval", self.problems) for spec in _sets(job).values()]
        if None in counts:
            return None
        known = [count for count in counts if count is not None]
        given = len(self.budgets) * sum(min(count, self.budget_problems or count) for count in known)
        return (sum(known) + given) * self.samples * self.max_new_tokens

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return [] if self.regrade else [(spec, "eval") for spec in _sets(job).values()]

    def check(self, job: Job) -> list[str]:
        fmt = chosen_format(self.format, job)
        if self.budgets and fmt.budget_in is None:
            return [f"stage.budgets: the {fmt.name} format has no budget to give; set stage.budgets=[]"]
        if self.regrade and (faults := regrade_faults(self, job)):
            return faults
        return format_faults(self.format, job) if fmt.budget_in == "prompt" else []

    def odd(self, job: Job) -> list[str]:
        return [] if self.against is None else missing_evaluation(Path(self.against))

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        fmt = chosen_format(self.format, job)
        earlier = Earlier.read(Path(self.against)) if self.against else None
        with open_verifier(ctx) as verifier:
            if self.regrade:
                rows, hashes = regraded(Path(self.regrade), fmt, verifier)
                if earlier:
                    earlier.require_alike(hashes)
            else:
                rows, hashes = self._write_all(load_collector(fmt, self, verifier, job, ctx), earlier, job, ctx)
        ctx.folder.rewrite(ctx.folder.completions, rows)
        ctx.folder.write_json(HASHES, hashes)
        ctx.tracker.log_completions(rows[:TABLE_ROWS], step=0)
        result = self._result(rows, job) | (changes(earlier.rows, free_rows(rows)) if earlier else {})
        ctx.world.barrier()  # no rank reads it any more
        if ctx.world.leads and not self.regrade:
            shutil.rmtree(ctx.folder.path / PARTIAL)
        return result

    def _write_all(
        self, collector: Collector, earlier: Earlier | None, job: Job, ctx: Context
    ) -> tuple[list[Row], dict[str, Hashes]]:
        """A row per completion, and for each data set the hashes of what they depend on."""
        sets = {
            name: problems_of(spec, "eval", self.problems, collector.verifier, ctx) for name, spec in _sets(job).items()
        }
        hashes = {name: hashes_of(problems, collector, self.samples) for name, problems in sets.items()}
        if earlier:
            earlier.require_alike(hashes)
        rows: list[Row] = []
        for name, problems in sets.items():
            for budget in (None, *self.budgets):
                some = problems if budget is None else problems[: self.budget_problems]
                rows += self._write(name, budget, some, collector, job, ctx)
        return rows, hashes

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
            given = _given(budget, share, collector, job)
            groups = collector.collect(share, seeds_for(job, "evaluate", share, self.samples), given)
            return [[{"dataset": name, "prefilled": budget, **completion_row(s)} for s in group] for group in groups]

        pass_name = "own budgets" if budget is None else f"budget {budget}"
        path = ctx.folder.path / PARTIAL / f"{name}, {pass_name}.jsonl"
        return work_through(problems, work, path, self.samples, f"{name}, {pass_name}", job, ctx)

    def _result(self, rows: Sequence[Row], job: Job) -> dict[str, float]:
        """The numbers of every data set."""
        result: dict[str, float] = {}
        for name in _sets(job):
            passes = {
                budget: [row for row in rows if row["dataset"] == name and row["prefilled"] == budget]
                for budget in (None, *self.budgets)
            }
            result |= {f"{name}/{key}": value for key, value in self._summary(passes).items()}
        return result

    def _summary(self, passes: Mapping[int | None, Sequence[Row]]) -> dict[str, float]:
        """The numbers of one data set. Of a pre-filled budget, accuracy and length are of interest."""
        groups = {budget: outcomes_by_problem(written) for budget, written in passes.items()}
        summary = summarize(groups[None]) | verification_rates(passes[None])
        summary |= at_cutoffs(groups[None][: self.budget_problems], self.cutoffs)
        given = {budget: groups[budget] for budget in self.budgets}
        for budget, controlled in given.items():
            metrics = summarize(controlled)
            keys = [key for key in ("accuracy", "accuracy_se", "length", "length_se") if key in metrics]
            summary |= {f"budget_{budget}/{key}": metrics[key] for key in keys}
        return summary | budget_area(given)


def _given(budget: int | None, problems: Sequence[Problem], collector: Collector, job: Job) -> Sequence[int | None]:
    """What each problem's prompt holds: the pass's budget, or where it has none, one that the reward asks for."""
    return asked_budgets(job, collector.fmt, "evaluate", problems) if budget is None else [budget] * len(problems)


def _sets(job: Job) -> Mapping[str, DatasetSettings]:
    return job.eval_datasets or {job.dataset.name: job.dataset}
