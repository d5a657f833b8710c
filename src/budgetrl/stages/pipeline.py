"""`pipeline`: the whole story, from an initial model to one that budgets, with the report that compares them."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from budgetrl.data.usable import load_problems
from budgetrl.grading.provenance import grader_hash
from budgetrl.grading.rows import unprefilled_rows
from budgetrl.grading.verifier import open_verifier
from budgetrl.metrics.results import Results
from budgetrl.planning.plan import make_plan
from budgetrl.report.against import changes
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES, RunFolder, read_rows
from budgetrl.runs.parts import COLD_START, EVALUATIONS, GRPO, INITIAL, LABEL, TRAINED
from budgetrl.runs.shared import shared_part
from budgetrl.settings.config import Config, to_yaml
from budgetrl.settings.stages.base import StageSettings
from budgetrl.settings.stages.label import LABELS
from budgetrl.settings.stages.pipeline import Pipeline
from budgetrl.stages import execute
from budgetrl.training.checkpoints import LAST

SHAREABLE = (COLD_START, LABEL, INITIAL)
"""Parts that depend on neither the reward's numbers nor the algorithm, so that runs can share them."""


def run(stage: Pipeline, config: Config, ctx: Context) -> dict[str, float]:
    """Run the parts in their order; returns the numbers of both evaluations, and what changed between them."""
    _load_all_problems(stage, config, ctx)
    results: dict[str, dict[str, float]] = {}
    for name, part in stage.parts(config).items():
        part_config = _config_of(name, part, stage, config, ctx.folder)
        with _folder_of(name, part_config, stage, ctx) as inner:
            results[name] = _run_part(name, part_config, inner)
    _keep_hashes(ctx)
    numbers = Results()
    for name in EVALUATIONS:
        numbers |= Results.parse(results[name]).labeled(evaluation=name)
    rows = {name: unprefilled_rows(read_rows(ctx.folder.part(name).completions)) for name in EVALUATIONS}
    return (numbers | changes(rows[INITIAL], rows[TRAINED])).flat()


def _load_all_problems(stage: Pipeline, config: Config, ctx: Context) -> None:
    """Load what any part will read: a bad row of an exam is to end the run before days of training, not after.

    Raises RequestError for problems that cannot be had, or that are not those that the run began with.
    """
    with open_verifier(ctx) as verifier:
        for dataset, split in stage.dataset_splits(config):
            load_problems(dataset, split, None, verifier, ctx)


def _config_of(name: str, part: StageSettings, stage: Pipeline, config: Config, folder: RunFolder) -> Config:
    """The configuration of a part as a run of its own: with the model and the labels that the parts before it made."""
    parts = stage.parts(config)
    if name == GRPO:
        if LABEL in parts:
            part = replace(stage.grpo, labels=str(folder.part(LABEL).path / LABELS))
        if COLD_START in parts:
            config = config.with_checkpoint(folder.part(COLD_START).checkpoints / LAST)
    if name == TRAINED:
        config = config.with_checkpoint(folder.part(GRPO).checkpoints / LAST)
    return config.for_part(part, folder.part(name).path)


def _folder_of(name: str, config: Config, stage: Pipeline, ctx: Context) -> AbstractContextManager[Context]:
    """Where a part is run: in its own folder, or in one that several runs share."""
    if stage.shared is None or name not in SHAREABLE:
        return nullcontext(ctx.child(name))
    held_out = [dataset.load("eval") for dataset in (config.dataset, *config.eval_datasets.values())]
    problems = [config.dataset.load("train"), *held_out]
    how = (config.rollout, config.zero, config.reward.repetition_ngram, grader_hash())
    content = (config.stage, config.seed, config.model, problems, how)
    return shared_part(Path(stage.shared), name, content, ctx)


def _run_part(name: str, config: Config, ctx: Context) -> dict[str, float]:
    """Run one part in its folder, unless that is done; its numbers."""
    ctx.world.barrier()
    if ctx.folder.finished:
        ctx.tracker.replay(read_rows(ctx.folder.metrics) if ctx.folder.metrics.exists() else [])
    else:
        ctx.print(f"== {name}")
        ctx.folder.write(ctx.folder.config, to_yaml(config))
        ctx.folder.write_json(ctx.folder.plan.name, make_plan(config))
        execute(config, ctx)
    return ctx.folder.read_result()


def _keep_hashes(ctx: Context) -> None:
    """Keep the hashes of both evaluations beside the run's own result, under the names that the numbers have there."""
    named: dict[str, Mapping[str, str]] = {}
    for name in EVALUATIONS:
        hashes = json.loads(ctx.folder.part(name).hashes.read_text())
        named |= {f"{name}/{dataset}": one for dataset, one in hashes.items()}
    ctx.folder.write_json(HASHES, named)
