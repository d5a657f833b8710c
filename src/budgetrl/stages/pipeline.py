"""`pipeline`: all stages of a method in one run, from evaluating the initial model to evaluating the trained one."""

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
from budgetrl.report.against import RowsBySet, changes
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
"""Parts that runs can share, because they do not depend on the reward's coefficients or on the algorithm."""


def run(stage: Pipeline, config: Config, ctx: Context) -> dict[str, float]:
    """Run the parts in order.

    Returns:
        The metrics of both evaluations, and the changes between them.
    """
    _load_all_problems(stage, config, ctx)

    # 1. Run each part in a folder of its own. Parts that are already finished only return their result.
    results: dict[str, dict[str, float]] = {}
    for name, part in stage.parts(config).items():
        part_config = _part_config(name, part, stage, config, ctx.folder)
        with _part_context(name, part_config, stage, ctx) as part_ctx:
            results[name] = _run_part(name, part_config, part_ctx)

    # 2. Combine the two evaluations.
    _write_hashes(ctx)
    metrics = Results()
    rows: dict[str, RowsBySet] = {}
    for name in EVALUATIONS:
        metrics |= Results.parse(results[name]).labeled(evaluation=name)
        rows[name] = unprefilled_rows(read_rows(ctx.folder.part(name).completions))
    return (metrics | changes(rows[INITIAL], rows[TRAINED])).flat()


def _load_all_problems(stage: Pipeline, config: Config, ctx: Context) -> None:
    """Load the problems of all parts once, so that a bad row ends the run before days of training, not after.

    Raises:
        RequestError: problems cannot be loaded, or differ from those that the run started with.
    """
    with open_verifier(ctx) as verifier:
        for dataset, split in stage.dataset_splits(config):
            load_problems(dataset, split, None, verifier, ctx)


def _part_config(name: str, part: StageSettings, stage: Pipeline, config: Config, folder: RunFolder) -> Config:
    """Return the configuration of a part, with the checkpoint and the labels that earlier parts produce."""
    parts = stage.parts(config)
    if name == GRPO:
        if LABEL in parts:
            part = replace(stage.grpo, labels=str(folder.part(LABEL).path / LABELS))
        if COLD_START in parts:
            config = config.with_checkpoint(folder.part(COLD_START).checkpoints / LAST)
    if name == TRAINED:
        config = config.with_checkpoint(folder.part(GRPO).checkpoints / LAST)
    return config.for_part(part, folder.part(name).path)


def _part_context(name: str, config: Config, stage: Pipeline, ctx: Context) -> AbstractContextManager[Context]:
    """Return the context of a part: its subfolder, or a folder that several runs share (`stage.shared`)."""
    if stage.shared is None or name not in SHAREABLE:
        return nullcontext(ctx.child(name))
    problems = [config.dataset.load("train")]
    for dataset in (config.dataset, *config.eval_datasets.values()):
        problems.append(dataset.load("eval"))
    # Everything that the part's result depends on. Runs share a folder only if all of it is the same.
    execution = (config.rollout, config.zero, config.reward.repetition_ngram, grader_hash())
    content = (config.stage, config.seed, config.model, problems, execution)
    return shared_part(Path(stage.shared), name, content, ctx)


def _run_part(name: str, config: Config, ctx: Context) -> dict[str, float]:
    """Run a part in its folder, unless it is already finished, and return its result."""
    ctx.world.barrier()  # all ranks must agree on whether the part is finished
    if ctx.folder.finished:
        # An offline tracker may have lost the rows of a finished part.
        ctx.tracker.replay(read_rows(ctx.folder.metrics) if ctx.folder.metrics.exists() else [])
    else:
        ctx.print(f"== {name}")
        ctx.folder.write(ctx.folder.config, to_yaml(config))
        ctx.folder.write_json(ctx.folder.plan.name, make_plan(config))
        execute(config, ctx)
    return ctx.folder.read_result()


def _write_hashes(ctx: Context) -> None:
    """Write the hashes of both evaluations next to the run's result, such as those of mini as `trained/mini`."""
    named: dict[str, Mapping[str, str]] = {}
    for name in EVALUATIONS:
        hashes = json.loads(ctx.folder.part(name).hashes.read_text())
        for dataset, dataset_hashes in hashes.items():
            named[f"{name}/{dataset}"] = dataset_hashes
    ctx.folder.write_json(HASHES, named)
