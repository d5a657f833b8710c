"""`evaluate`: how right, how long and how well budgeted a model's answers are."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from budgetrl.core.records import Problem
from budgetrl.data.usable import load_problems
from budgetrl.formats.learned import LearnedFormat, write_learned_format
from budgetrl.grading.provenance import Hashes
from budgetrl.grading.verifier import open_verifier
from budgetrl.report.against import EarlierEvaluation
from budgetrl.report.evaluation import write_evaluation
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.factory import open_collector
from budgetrl.rollout.seeds import asked_budgets, sampling_seeds
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row
from budgetrl.runs.resumable import work_through
from budgetrl.settings.config import Config
from budgetrl.settings.stages.base import evaluated_datasets
from budgetrl.settings.stages.evaluate import Evaluate

PARTIAL = "partial"
"""A folder of rows by pass, to resume from; completions.jsonl has them all once the evaluation is done."""


def run(stage: Evaluate, config: Config, ctx: Context) -> dict[str, float]:
    """Measure the model on every data set; returns its numbers, and what changed if there is an earlier evaluation."""
    fmt = stage.resolve_format(config)
    earlier = EarlierEvaluation.read(Path(stage.against)) if stage.against else None
    with open_verifier(ctx) as verifier, open_collector(fmt, stage, verifier, config, ctx) as collector:
        rows, hashes = _generate_all(stage, collector, earlier, config, ctx)
    result = write_evaluation(stage, rows, hashes, earlier, list(evaluated_datasets(config)), ctx)
    ctx.world.barrier()  # no rank reads it any more
    if ctx.world.is_main:
        write_learned_format(
            ctx.folder.path, LearnedFormat(fmt, config.model.length)
        )  # what its completions are read with again
        shutil.rmtree(ctx.folder.path / PARTIAL)
    return result


def _generate_all(
    stage: Evaluate, collector: Collector, earlier: EarlierEvaluation | None, config: Config, ctx: Context
) -> tuple[list[Row], dict[str, Hashes]]:
    """A row per completion, and for each data set the hashes of what they depend on."""
    sets = {
        name: load_problems(dataset, "eval", stage.problems, collector.verifier, ctx)
        for name, dataset in evaluated_datasets(config).items()
    }
    hashes = {name: collector.hashes(problems, stage.samples) for name, problems in sets.items()}
    if earlier:
        earlier.require_comparable(hashes)
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

    def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
        given = _given(budget, share, collector, config)
        groups = collector.collect(share, sampling_seeds(config, "evaluate", share, stage.samples), given)
        return [[{"dataset": name, "prefilled": budget, **sample.row} for sample in group] for group in groups]

    pass_name = "own budgets" if budget is None else f"budget {budget}"
    path = ctx.folder.path / PARTIAL / f"{name}, {pass_name}.jsonl"
    at_once = config.rollout.completions_at_once
    return work_through(problems, make_rows, path, stage.samples, at_once, f"{name}, {pass_name}", ctx)


def _given(
    budget: int | None, problems: Sequence[Problem], collector: Collector, config: Config
) -> Sequence[int | None]:
    """What each problem's prompt holds: the pass's budget, or where it has none, one that the reward asks for."""
    return asked_budgets(config, collector.fmt, "evaluate", problems) if budget is None else [budget] * len(problems)
