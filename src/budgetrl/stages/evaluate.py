"""`evaluate`: measure a model's accuracy, its length, and how closely it follows its budgets."""

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
"""Folder with one file of rows per pass, to resume from. completions.jsonl replaces it at the end."""


def run(stage: Evaluate, config: Config, ctx: Context) -> dict[str, float]:
    """Evaluate the model on every data set.

    Returns:
        The metrics, and the changes against the evaluation in `stage.against`, if there is one.
    """
    fmt = stage.resolve_format(config)
    earlier = EarlierEvaluation.read(Path(stage.against)) if stage.against else None
    with open_verifier(ctx) as verifier, open_collector(fmt, stage, verifier, config, ctx) as collector:
        rows, hashes = _generate_all(stage, collector, earlier, config, ctx)
    result = write_evaluation(stage, rows, hashes, earlier, list(evaluated_datasets(config)), ctx)
    ctx.world.barrier()  # no rank still reads the partial files
    if ctx.world.is_main:
        # `stage=regrade` needs the format to parse the completions again.
        write_learned_format(ctx.folder.path, LearnedFormat(fmt, config.model.length))
        shutil.rmtree(ctx.folder.path / PARTIAL)
    return result


def _generate_all(
    stage: Evaluate, collector: Collector, earlier: EarlierEvaluation | None, config: Config, ctx: Context
) -> tuple[list[Row], dict[str, Hashes]]:
    """Return a row per completion, and for each data set the hashes of everything that its numbers depend on."""
    problems_by_name: dict[str, Sequence[Problem]] = {}
    hashes: dict[str, Hashes] = {}
    for name, dataset in evaluated_datasets(config).items():
        problems_by_name[name] = load_problems(dataset, "eval", stage.problems, collector.verifier, ctx)
        hashes[name] = collector.hashes(problems_by_name[name], stage.samples)
    # Before hours of generation, not after.
    if earlier:
        earlier.require_comparable(hashes)

    rows: list[Row] = []
    for name, problems in problems_by_name.items():
        # First the model's own budgets, then a pass for each budget that is pre-filled.
        rows += _generate(stage, name, None, problems, collector, config, ctx)
        for budget in stage.budgets:
            rows += _generate(stage, name, budget, problems[: stage.budget_problems], collector, config, ctx)
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
    """Run one pass over a data set and return a row per completion.

    Args:
        stage: settings.
        name: name of the data set.
        budget: the budget to pre-fill; None: the model sets its own, or the prompt asks for one.
        problems: problems of the data set.
        collector: generates and grades.
        config: the configuration of the run.
        ctx: the run's ranks, folder, and output.
    """

    def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
        seeds = sampling_seeds(config, "evaluate", share, stage.samples)
        budgets: Sequence[int | None] = [budget] * len(share)
        if budget is None:  # the reward may still ask for a length in the prompt
            budgets = asked_budgets(config, collector.fmt, "evaluate", share)
        rows: list[list[Row]] = []
        for group in collector.collect(share, seeds, budgets):
            rows.append([{"dataset": name, "prefilled": budget, **sample.row} for sample in group])
        return rows

    pass_name = "own budgets" if budget is None else f"budget {budget}"
    path = ctx.folder.path / PARTIAL / f"{name}, {pass_name}.jsonl"
    at_once = config.rollout.completions_at_once
    return work_through(problems, make_rows, path, stage.samples, at_once, f"{name}, {pass_name}", ctx)
