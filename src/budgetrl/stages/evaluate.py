"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from budgetrl.core.records import Problem
from budgetrl.data.usable import problems_of
from budgetrl.formats.learned import Learned, write_learned
from budgetrl.grading.rows import Row, free_rows, outcomes_by_problem, verification_rates
from budgetrl.grading.verifier import open_verifier
from budgetrl.metrics.length_control import at_cutoffs, budget_area
from budgetrl.metrics.summary import summarize
from budgetrl.report.against import Earlier, changes
from budgetrl.rollout.collect import Collector, completion_row
from budgetrl.rollout.generation import asked_budgets, load_collector, seeds_for, work_through
from budgetrl.rollout.provenance import Hashes, hashes_of
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES
from budgetrl.settings.config import Config
from budgetrl.settings.stages.base import evaluated_sets
from budgetrl.settings.stages.evaluate import Evaluate

PARTIAL = "partial"
"""A folder of rows by pass, to resume from; completions.jsonl has them all once the evaluation is done."""
TABLE_ROWS = 200
"""Completions in the tracker's table; completions.jsonl has all."""


def run(stage: Evaluate, config: Config, ctx: Context) -> dict[str, float]:
    """Measure the model on every data set; returns `numbers_of` the rows, and changes if there is an earlier one."""
    fmt = stage.asks(config)
    earlier = Earlier.read(Path(stage.against)) if stage.against else None
    with open_verifier(ctx) as verifier:
        collector = load_collector(fmt, stage, verifier, config, ctx)
        rows, hashes = _generate_all(stage, collector, earlier, config, ctx)
    result = finish(stage, rows, hashes, earlier, list(evaluated_sets(config)), ctx)
    ctx.world.barrier()  # no rank reads it any more
    if ctx.world.leads:
        write_learned(ctx.folder.path, Learned(fmt, config.model.length))  # what its completions are read with again
        shutil.rmtree(ctx.folder.path / PARTIAL)
    return result


def finish(
    stage: Evaluate,
    rows: Sequence[Row],
    hashes: Mapping[str, Hashes],
    earlier: Earlier | None,
    datasets: Sequence[str],
    ctx: Context,
) -> dict[str, float]:
    """Write what an evaluation leaves in its folder; returns its numbers."""
    ctx.folder.rewrite(ctx.folder.completions, rows)
    ctx.folder.write_json(HASHES, hashes)
    ctx.tracker.log_completions(rows[:TABLE_ROWS], step=0)
    changed = changes(earlier.rows, free_rows(rows)) if earlier else {}
    return numbers_of(stage, rows, datasets) | changed


def _generate_all(
    stage: Evaluate, collector: Collector, earlier: Earlier | None, config: Config, ctx: Context
) -> tuple[list[Row], dict[str, Hashes]]:
    """A row per completion, and for each data set the hashes of what they depend on."""
    sets = {
        name: problems_of(dataset, "eval", stage.problems, collector.verifier, ctx)
        for name, dataset in evaluated_sets(config).items()
    }
    hashes = {name: hashes_of(problems, collector, stage.samples) for name, problems in sets.items()}
    if earlier:
        earlier.require_alike(hashes)
    rows: list[Row] = []
    for name, problems in sets.items():
        for budget in (None, *stage.budgets):
            some = problems if budget is None else problems[: stage.budget_problems]
            rows += _generate(stage, name, budget, some, collector, config, ctx)
    return rows, hashes


def _generate(
    stage: Evaluate,
    name: str,
    budget: int | None,
    problems: Sequence[Problem],
    collector: Collector,
    config: Config,
    ctx: Context,
) -> list[Row]:
    """A row per completion; kept in a file of its own until all of the evaluation is there."""

    def work(share: Sequence[Problem]) -> list[list[Row]]:
        given = _given(budget, share, collector, config)
        groups = collector.collect(share, seeds_for(config, "evaluate", share, stage.samples), given)
        return [[{"dataset": name, "prefilled": budget, **completion_row(s)} for s in group] for group in groups]

    pass_name = "own budgets" if budget is None else f"budget {budget}"
    path = ctx.folder.path / PARTIAL / f"{name}, {pass_name}.jsonl"
    return work_through(problems, work, path, stage.samples, f"{name}, {pass_name}", config, ctx)


def numbers_of(stage: Evaluate, rows: Sequence[Row], datasets: Sequence[str]) -> dict[str, float]:
    """The numbers of every data set, under its name."""
    result: dict[str, float] = {}
    for name in datasets:
        passes: dict[int | None, list[Row]] = {budget: [] for budget in (None, *stage.budgets)}
        for row in rows:
            if row["dataset"] == name:
                passes[row["prefilled"]].append(row)
        result |= {f"{name}/{key}": value for key, value in _summary(stage, passes).items()}
    return result


def _summary(stage: Evaluate, passes: Mapping[int | None, Sequence[Row]]) -> dict[str, float]:
    """The numbers of one data set. Of a pre-filled budget, accuracy and length are of interest."""
    groups = {budget: outcomes_by_problem(written) for budget, written in passes.items()}
    summary = summarize(groups[None]) | verification_rates(passes[None])
    summary |= at_cutoffs(groups[None][: stage.budget_problems], stage.cutoffs)
    given = {budget: groups[budget] for budget in stage.budgets}
    for budget, controlled in given.items():
        metrics = summarize(controlled)
        keys = [key for key in ("accuracy", "accuracy_se", "length", "length_se") if key in metrics]
        summary |= {f"budget_{budget}/{key}": metrics[key] for key in keys}
    return summary | budget_area(given)


def _given(
    budget: int | None, problems: Sequence[Problem], collector: Collector, config: Config
) -> Sequence[int | None]:
    """What each problem's prompt holds: the pass's budget, or where it has none, one that the reward asks for."""
    return asked_budgets(config, collector.fmt, "evaluate", problems) if budget is None else [budget] * len(problems)
