"""`grpo`: budget-guided group-relative policy optimization."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.core.records import Problem
from budgetrl.data.usable import problems_of, say_overlap
from budgetrl.grading.verifier import open_verifier
from budgetrl.policy.card import model_card
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.policy.module import PolicyModule
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.factory import open_collector
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES, Row
from budgetrl.settings.config import Config
from budgetrl.settings.optimizer import learning_rate
from budgetrl.settings.stages.grpo import Grpo
from budgetrl.stages.label import label, read_labels
from budgetrl.training.checkpoints import LAST, Checkpoints
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.examiner import Examiner, Standing
from budgetrl.training.loop import Loop, Stopwatch
from budgetrl.training.policy_step import PolicyStep, Update
from budgetrl.training.rollouts import Rollout
from budgetrl.training.writing import Writer

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

COMPLETIONS_LOGGED = 16
"""Completions written to completions.jsonl every `log_every` steps: two groups of eight."""


def run(stage: Grpo, config: Config, ctx: Context) -> dict[str, float]:
    """Train the model on the reward; returns the numbers of the last evaluation during training."""
    fmt = stage.asks(config)
    policy = load_policy(config.model, fmt, ctx.world.device)
    with open_verifier(ctx) as verifier:
        pool = problems_of(config.dataset, "train", stage.problems, verifier, ctx)
        held_out = problems_of(config.dataset, "eval", stage.eval_problems, verifier, ctx)
        say_overlap(pool, held_out, ctx)
        with open_collector(fmt, stage, verifier, config, ctx, policy) as collector:
            ctx.folder.write_json(HASHES, {config.dataset.name: collector.hashes(held_out, samples=1)})
            if config.reward.needs_b_max:
                collector = replace(collector, b_max=_b_max(stage, pool, collector, config, ctx))
            return _train(stage, policy, Writer(pool, collector, stage, config, ctx), held_out, config, ctx)


def _train(
    stage: Grpo, policy: Policy, write: Writer, held_out: Sequence[Problem], config: Config, ctx: Context
) -> dict[str, float]:
    """The loop: problems -> completions -> outcomes -> rewards -> advantages -> optimizer steps."""
    algorithm = config.algorithm
    reference = frozen_copy(policy.model, stage.temperature) if algorithm.kl_coefficient else None
    reward, collector = config.reward.within(stage.max_new_tokens), write.collector
    engine = ZeroEngine(PolicyModule(policy.model, stage.temperature), config.zero, stage.optimizer, ctx.world)
    saved, controller = Checkpoints(ctx.folder.checkpoints, ctx.world), reward.controller()
    standing, take_step = Standing(controller), PolicyStep(engine, reference)
    loop = Loop(ctx, engine, saved, stage.steps, stage.save_every, standing)
    examine = Examiner(held_out, collector, policy, loop, reward, standing, config)
    updates, done = algorithm.optimizer_steps_per_rollout, loop.resume()
    collector.engine.sync(done)
    with ctx.progress.track(stage.steps, "grpo", done) as bar:
        for first in range(done, stage.steps, updates):
            watch, progress = Stopwatch(), _progress(first, stage)
            with engine.whole_weights():  # problems [P] -> completions [P, G] -> outcomes [P, G]
                written = write(first, controller.reward, progress)
            watch.lap("rollout")
            # -> rewards [P, G] -> advantages [P, G]
            rollout = Rollout.of(written, controller, progress, algorithm, collector)
            old = take_step.logprobs(rollout.experience, stage.tokens_per_device) if updates > 1 else None
            for step, span in enumerate(rollout.minibatches(updates)[: stage.steps - first], start=first + 1):
                # -> micro-batches -> log-probabilities [tokens] -> loss -> optimizer step -> metrics
                metrics = take_step(rollout.experience[span], _update(step - 1, stage, config), old and old[span])
                collector.engine.sync(step)
                metrics |= rollout.metrics | written.effort | watch.lap("update", rollout.tokens)
                if stage.is_due(step, stage.eval_every):
                    metrics |= examine()
                if stage.is_due(step, stage.log_every):
                    _log_completions(rollout.rows(step, COMPLETIONS_LOGGED), step, ctx)
                loop.finish_step(step, metrics, may_save=step in (first + updates, stage.steps))
                bar.update(1, **metrics)
    card = model_card(config.model, collector.fmt, config.dataset.name, config.seed, ctx.folder.path.name)
    saved.save_policy(LAST, policy, engine, collector.fmt, card)
    engine.close()
    return standing.result


def _progress(step: int, stage: Grpo) -> float:
    """From 0 at the first step to 1 at the last; `step` counts from 0."""
    return step / max(1, stage.steps - 1)


def _update(step: int, stage: Grpo, config: Config) -> Update:
    lr = learning_rate(step, stage.steps, stage.optimizer)
    entropy = config.algorithm.budget_entropy(_progress(step, stage))
    return Update(config.algorithm, lr, entropy, stage.tokens_per_device, stage.max_new_tokens)


def _b_max(
    stage: Grpo, pool: Sequence[Problem], collector: Collector, config: Config, ctx: Context
) -> Mapping[str, float]:
    """Reference lengths from the labels file, or asked of the model that is about to be trained."""
    if stage.labels:
        return read_labels(Path(stage.labels), pool)
    rows = label(stage.labeling(config), pool, collector, config, ctx)
    return {row["problem_id"]: math.inf if row["b_max"] is None else row["b_max"] for row in rows}


def _log_completions(rows: Sequence[Row], step: int, ctx: Context) -> None:
    ctx.folder.append_completions(rows)
    ctx.tracker.log_completions(rows, step)


def frozen_copy(model: "PreTrainedModel", temperature: float) -> PolicyModule:
    """The policy as it is now, to measure the KL divergence from."""
    return PolicyModule(copy.deepcopy(model), temperature).requires_grad_(False).eval()
