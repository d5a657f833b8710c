"""`grpo`: group-relative policy optimization of a reward.

One rollout goes problems -> completions -> outcomes -> rewards -> advantages -> data, then feeds one or more optimizer
steps. Names ending in _PG are lists [P][G], indexed by prompt, then by completion in its group.
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.core.records import Problem
from budgetrl.core.schedules import progress_at
from budgetrl.data.usable import load_problems, warn_about_overlap
from budgetrl.grading.verifier import open_verifier
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.policy.module import PolicyModule
from budgetrl.rewards.reward import Controller
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.factory import open_collector
from budgetrl.rollout.labeling import make_labels, read_labels
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES
from budgetrl.settings.algorithm import Algorithm
from budgetrl.settings.config import Config
from budgetrl.settings.stages.grpo import Grpo
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.evaluation import Evaluation, GrpoState
from budgetrl.training.learner import Learner
from budgetrl.training.policy_gradient import PolicyDatum, PolicyGradient, policy_logprobs
from budgetrl.training.rollouts import (
    completion_rows,
    policy_data,
    rollout_advantages,
    rollout_metrics,
    split_minibatches,
)
from budgetrl.training.sampling import Sampler
from budgetrl.training.train import Schedule, TrainingData, train

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

COMPLETIONS_LOGGED = 16
"""Number of completions written to completions.jsonl every `log_every` steps: two groups of eight."""


def run(stage: Grpo, config: Config, ctx: Context) -> dict[str, float]:
    """Train the model on the configured reward. Returns the metrics of the last evaluation during training."""
    fmt = stage.resolve_format(config)
    policy = load_policy(config.model, fmt, ctx.world.device)
    with open_verifier(ctx) as verifier:
        pool = load_problems(config.dataset, "train", stage.problems, verifier, ctx)
        held_out = load_problems(config.dataset, "eval", stage.eval_problems, verifier, ctx)
        warn_about_overlap(pool, held_out, ctx)
        with open_collector(fmt, stage, verifier, config, ctx, policy) as collector:
            # What the evaluation numbers depend on, such as the problems and the grader.
            ctx.folder.write_json(HASHES, {config.dataset.name: collector.hashes(held_out, samples=1)})
            if config.reward.needs_b_max:
                # Before training, because b_max is measured with the initial model.
                collector = replace(collector, b_max=_b_max(stage, pool, collector, config, ctx))
            sampler = Sampler(pool, collector, stage, config, ctx)
            return _train(stage, policy, sampler, held_out, config, ctx)


@dataclass(frozen=True)
class RolloutSource:
    """The data source of GRPO: each call makes a rollout for the next `optimizer_steps_per_rollout` steps."""

    stage: Grpo
    algorithm: Algorithm
    sample: Sampler
    engine: ZeroEngine
    controller: Controller

    def __call__(self, step: int) -> TrainingData[PolicyDatum]:
        """Make a rollout with the weights after `step` steps."""
        reward, progress = self.controller.reward, progress_at(step, self.stage.steps)
        updates, collector = self.algorithm.optimizer_steps_per_rollout, self.sample.collector

        # Problems [P] -> completions, outcomes and rewards [P][G].
        started = time.perf_counter()
        with self.engine.gathered_weights():
            collector.engine.sync(step)  # generate with the current weights
            sampled = self.sample(step, reward, progress)
        seconds = time.perf_counter() - started

        # Rewards -> advantages [P][G] -> data [P][G].
        advantages_PG = rollout_advantages(sampled, self.algorithm.advantage)
        data_PG: list[list[PolicyDatum]] = []
        tokens = 0
        for group, advantages in zip(sampled.groups, advantages_PG, strict=True):
            data = policy_data(group, advantages, collector)
            data_PG.append(data)
            tokens += sum(len(datum.response_ids) for datum in data)

        # With several updates per rollout the policy drifts from the one that generated it. The ratio in the loss then
        # needs log-probabilities from before the first update, computed by the same engine.
        if updates > 1:
            data_PG = self._with_old_logprobs(data_PG)

        # Only now, so that all groups of this rollout got the same reward. It takes effect in the next rollout.
        self.controller.update(sampled.outcomes)
        return TrainingData(
            split_minibatches(data_PG, updates),
            tokens=tokens,
            metrics=rollout_metrics(sampled) | reward.schedule(progress),
            generation_seconds=seconds,
            completions=completion_rows(sampled.groups, COMPLETIONS_LOGGED),
        )

    def _with_old_logprobs(self, data_PG: Sequence[Sequence[PolicyDatum]]) -> list[list[PolicyDatum]]:
        """Return the data with the current policy's log-probabilities as `old_logprobs`."""
        flat = list(chain.from_iterable(data_PG))
        logprobs = iter(policy_logprobs(self.engine, flat, self.stage.tokens_per_device))
        completed_PG: list[list[PolicyDatum]] = []
        for data in data_PG:
            completed_PG.append([replace(datum, old_logprobs=next(logprobs)) for datum in data])
        return completed_PG


def _train(
    stage: Grpo, policy: Policy, sample: Sampler, held_out: Sequence[Problem], config: Config, ctx: Context
) -> dict[str, float]:
    """Set up the objective, data source and evaluation, and train. Returns the metrics of the last evaluation."""
    algorithm, collector = config.algorithm, sample.collector
    # Copy the reference before `Learner.of`: ZeRO 3 shards the model's weights in place.
    reference = frozen_copy(policy.model, stage.temperature) if algorithm.kl.coefficient else None
    reward = config.reward.with_max_length(stage.max_new_tokens)
    state = GrpoState(reward.controller())
    learner = Learner.of(policy, collector.fmt, stage.optimizer, config, ctx, stage.temperature)
    train(
        PolicyGradient(algorithm, stage.max_new_tokens, reference),
        RolloutSource(stage, algorithm, sample, learner.engine, state.controller),
        learner,
        _schedule(stage),
        ctx,
        title="grpo",
        evaluate=Evaluation(held_out, collector, learner, reward, state, config, ctx),
        extra_state=state,
    )
    return state.result


def _schedule(stage: Grpo) -> Schedule:
    return Schedule(
        steps=stage.steps,
        optimizer=stage.optimizer,
        tokens_per_device=stage.tokens_per_device,
        save_every=stage.save_every,
        eval_every=stage.eval_every,
        log_every=stage.log_every,
    )


def _b_max(
    stage: Grpo, pool: Sequence[Problem], collector: Collector, config: Config, ctx: Context
) -> Mapping[str, float]:
    """Return b_max by problem id, from the labels file or else measured with the initial model."""
    if stage.labels:
        return read_labels(Path(stage.labels), pool)
    rows = make_labels(stage.label_stage(config), pool, collector, config, ctx)
    b_max: dict[str, float] = {}
    for row in rows:
        # null in the labels file stands for infinity: the model never solved the problem.
        b_max[row["problem_id"]] = math.inf if row["b_max"] is None else row["b_max"]
    return b_max


def frozen_copy(model: "PreTrainedModel", temperature: float) -> PolicyModule:
    """Return a frozen copy of the policy: the reference of the KL penalty."""
    return PolicyModule(copy.deepcopy(model), temperature).requires_grad_(False).eval()
