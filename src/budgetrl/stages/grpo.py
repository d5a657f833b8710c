"""`grpo`: budget-guided group-relative policy optimisation."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from budgetrl.budget.checks import require_count, require_option, require_range
from budgetrl.budget.format import FORMAT_NAMES
from budgetrl.budget.metrics import summarise
from budgetrl.budget.records import Outcome, Problem
from budgetrl.budget.seeds import derive_seed
from budgetrl.data.spec import DatasetSpec, Split
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.policy.module import PolicyModule
from budgetrl.policy.spec import MINI
from budgetrl.report.comparable import HASHES
from budgetrl.rewards.shape import Controller, Shape
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.stages.base import Context, Job, Stage, chosen_format, format_faults, length_faults, token_lines
from budgetrl.stages.generation import (
    asked_budgets,
    collector_for,
    open_verifier,
    problems_of,
    say_overlap,
    seeds_for,
)
from budgetrl.stages.label import Label, read_labels
from budgetrl.stages.loop import Loop, Stopwatch, model_card
from budgetrl.stages.provenance import hashes_of
from budgetrl.stages.rollouts import Rollout, Samples, informative_groups
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.optim import Optimiser, learning_rate
from budgetrl.training.policy_step import PolicyStep, Update

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Grpo(Stage):
    """Roll out, reward, step: with `algorithm`, on the `reward`, of a model that knows the format."""

    name: str = "grpo"
    format: str = "auto"
    """What the model is asked for: auto (what the reward reads, else plain), plain, budget, ..."""
    steps: int = 240
    """Optimiser steps."""
    prompts_per_step: int = 16
    """Prompts of an optimiser step, over all ranks."""
    group_size: int = 8
    """Completions of each prompt."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    max_new_tokens: int = 420
    """Longest completion, in tokens; a longer one is cut off and counts as malformed."""
    temperature: float = 1.0
    """Of the rollouts."""
    problems: int | None = 1600
    """Most training problems; null for all."""
    labels: str | None = None
    """A labels.jsonl with b_max of each problem; null: the model is asked itself, before it is trained."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    """The learning rate and its schedule."""
    eval_every: int = 60
    """Steps between evaluations on held-out problems; 0: only at the end."""
    eval_problems: int = 210
    """Held-out problems of such an evaluation."""
    save_every: int = 20
    """Steps between states to resume from."""
    log_every: int = 20
    """Steps between groups written to completions.jsonl."""

    trains_on_rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_option(self, FORMAT_NAMES, "format")
        counts = ("steps", "prompts_per_step", "tokens_per_device", "max_new_tokens", "save_every", "log_every")
        require_range(self, 1, math.inf, *counts, "eval_problems")
        require_range(self, 2, math.inf, "group_size")
        require_range(self, 0, math.inf, "eval_every")
        require_count(self, "problems")
        require_range(self, 1e-3, math.inf, "temperature")

    def plan(self, job: Job) -> dict[str, object]:
        per_step = self.prompts_per_step * self.group_size
        algorithm = job.algorithm
        updates = algorithm.optimiser_steps_per_rollout
        return {
            "optimiser steps": self.steps,
            "rollouts": math.ceil(self.steps / updates),
            "labels": self._labels_from(job),
            "prompts a step": self.prompts_per_step,
            "completions a step": f"{per_step} ({self.prompts_per_step} prompts x {self.group_size})",
            "completions a rollout": per_step * updates,
            **({"rollouts to fill a batch, at most": algorithm.max_rollouts} if algorithm.drop_equal_groups else {}),
            "completions in all": per_step * self.steps,
            **token_lines(self._most_written(job), per_step * self.steps * self.max_new_tokens),
        }

    def _most_written(self, job: Job) -> int | None:
        """Tokens of rollouts, evaluations and labels, if every completion runs into the limit."""
        attempts = job.algorithm.max_rollouts if job.algorithm.drop_equal_groups else 1
        rollouts = attempts * self.steps * self.prompts_per_step * self.group_size
        examined = self.eval_problems * sum(self._due(step, self.eval_every) for step in range(1, self.steps + 1))
        asked = job.reward.needs_b_max and not self.labels
        labels = self._labelling(job).most_written(job) if asked else 0
        return None if labels is None else (rollouts + examined) * self.max_new_tokens + labels

    def reads(self, job: Job) -> list[tuple[DatasetSpec, Split]]:
        return [(job.dataset, "train"), (job.dataset, "eval")]

    def check(self, job: Job) -> list[str]:
        faults = format_faults(self.format, job) + length_faults("stage.max_new_tokens", self.max_new_tokens, job)
        algorithm = job.algorithm
        faults += job.reward.faults(algorithm.scaled_by_group, algorithm.std_floor, algorithm.per_component)
        if job.reward.needs_validation and not self.eval_every:
            faults += [f"stage.eval_every: reward={job.reward.name} learns from evaluations; set it to 1 or more"]
        if self.labels and not Path(self.labels).is_file():
            faults += [f"stage.labels: there is no file {self.labels}; stage=label writes one"]
        return faults

    def odd(self, job: Job) -> list[str]:
        notes = job.reward.too_long(self.max_new_tokens, "stage.max_new_tokens")
        fmt = chosen_format(self.format, job)
        if fmt.taught and fmt.name != "budget" and job.model.path in MINI:
            notes.append(
                f"model.path: the shipped model was not taught the {fmt.name} format; stage=pipeline teaches it"
            )
        if self.tokens_per_device < self.max_new_tokens:
            notes.append("stage.tokens_per_device is below stage.max_new_tokens: long completions train one by one")
        if self.steps % job.algorithm.optimiser_steps_per_rollout:
            notes.append("stage.steps is no multiple of algorithm.optimiser_steps_per_rollout: the last rollout is cut")
        return notes + _odd_algorithm(job)

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        fmt = chosen_format(self.format, job)
        policy = load_policy(job.model, fmt, ctx.world.device)
        with open_verifier(ctx) as verifier:
            pool = problems_of(job.dataset, "train", self.problems, verifier, ctx)
            held_out = problems_of(job.dataset, "eval", self.eval_problems, verifier, ctx)
            say_overlap(pool, held_out, ctx)
            collector = collector_for(policy, fmt, self, verifier, job)
            ctx.folder.write_json(HASHES, {job.dataset.name: hashes_of(held_out, collector, samples=1)})
            if job.reward.needs_b_max:
                collector = replace(collector, b_max=self._b_max(pool, collector, job, ctx))
            return self._train(policy, pool, held_out, collector, job, ctx)

    def _train(
        self,
        policy: Policy,
        pool: Sequence[Problem],
        held_out: Sequence[Problem],
        collector: Collector,
        job: Job,
        ctx: Context,
    ) -> dict[str, float]:
        """The loop: problems -> completions -> outcomes -> rewards -> advantages -> optimiser steps."""
        reference = frozen_copy(policy.model, self.temperature) if job.algorithm.kl_coefficient else None
        shape = job.reward.within(self.max_new_tokens)
        controller = shape.controller()
        engine = ZeroEngine(PolicyModule(policy.model, self.temperature), job.zero, self.optimiser, ctx.world)
        saved = Checkpoints(ctx.folder.checkpoints, ctx.world)
        loop, take_step = Loop(ctx, engine, saved, self.steps, self.save_every), PolicyStep(engine, reference)
        examine = Examiner(held_out, collector, policy, loop, job, shape, controller)
        updates, done = job.algorithm.optimiser_steps_per_rollout, loop.resume()
        if done:
            controller.load_state_dict(loop.extra["reward"])
        with ctx.progress.track(self.steps, "grpo", done) as bar:
            for first in range(done, self.steps, updates):
                watch = Stopwatch()
                with engine.whole_weights():
                    samples_PG, effort = self._roll_out(pool, first, collector, controller.shape, job, ctx)
                watch.lap("rollout")
                rollout = Rollout.of(samples_PG, controller, self._progress(first), job.algorithm, collector)
                old = take_step.logprobs(rollout.experience, self.tokens_per_device) if updates > 1 else None
                for step, span in enumerate(rollout.minibatches(updates)[: self.steps - first], start=first + 1):
                    update = self._update(step - 1, job)
                    metrics = take_step(rollout.experience[span], update, old[span] if old else None)
                    metrics |= rollout.metrics | effort | watch.lap("update", rollout.tokens)
                    if self._due(step, self.eval_every):
                        metrics |= examine()
                    if self._due(step, self.log_every):
                        rows = rollout.rows(step, COMPLETIONS_LOGGED)
                        ctx.folder.append_completions(rows)
                        ctx.tracker.log_completions(rows, step)
                    loop.extra["reward"] = controller.state_dict()
                    loop.finish_step(step, metrics, may_save=step in (first + updates, self.steps))
                    bar.update(1, **metrics)
        saved.save_policy("last", policy, engine, model_card(job, collector.fmt, ctx.folder.path.name))
        engine.close()
        return loop.extra["result"]

    def _progress(self, step: int) -> float:
        """From 0 at the first step to 1 at the last; `step` counts from 0."""
        return step / max(1, self.steps - 1)

    def _due(self, step: int, every: int) -> bool:
        return step == self.steps or (every > 0 and step % every == 0)

    def _update(self, step: int, job: Job) -> Update:
        lr = learning_rate(step, self.steps, self.optimiser)
        entropy = job.algorithm.budget_entropy(self._progress(step))
        return Update(job.algorithm, lr, entropy, self.tokens_per_device, self.max_new_tokens)

    def _labels_from(self, job: Job) -> str:
        if not job.reward.needs_b_max:
            return "not needed"
        return self.labels or f"asked of the model first, {Label.samples} completions a problem"

    def _b_max(self, pool: Sequence[Problem], collector: Collector, job: Job, ctx: Context) -> Mapping[str, float]:
        """Reference lengths from the labels file, or asked of the model that is about to be trained."""
        if self.labels:
            return read_labels(Path(self.labels), pool)
        rows = self._labelling(job).label(pool, collector, job, ctx)
        return {row["problem_id"]: math.inf if row["b_max"] is None else row["b_max"] for row in rows}

    def _labelling(self, job: Job) -> Label:
        """How the model is asked itself, with this stage's own limits."""
        fmt = chosen_format(self.format, job).name
        return Label(format=fmt, problems=self.problems, max_new_tokens=self.max_new_tokens)

    def _roll_out(
        self, pool: Sequence[Problem], step: int, collector: Collector, shape: Shape, job: Job, ctx: Context
    ) -> tuple[Sequence[Samples], dict[str, float]]:
        """The completions [P][G] to learn from at this step and the next few, on every rank, and what they took.

        A further attempt reads the endless list of problems as many whole trainings on: where depends
        on step and attempt alone, so a resumed run draws the same.
        """
        algorithm, progress = job.algorithm, self._progress(step)
        count = algorithm.optimiser_steps_per_rollout * self.prompts_per_step

        def write(attempt: int, missing: int) -> list[list[Sample]]:
            problems = draw(pool, (attempt * self.steps + step) * self.prompts_per_step, missing, job.seed)
            return self._write(problems, step, attempt * count, collector, job, ctx)

        def rewards_of(group: Samples) -> list[float]:
            return shape([sample.outcome for sample in group], progress)

        if not algorithm.drop_equal_groups:
            return write(0, count), {}
        return informative_groups(write, rewards_of, count, algorithm.max_rollouts)

    def _write(
        self, problems: Sequence[Problem], step: int, first: int, collector: Collector, job: Job, ctx: Context
    ) -> list[list[Sample]]:
        """All ranks' completions [P][G] of the problems, on every rank; `first` is the place of the first one."""
        seeds = [
            [derive_seed(job.seed, "grpo", step, place, p.id, n) for n in range(self.group_size)]
            for place, p in enumerate(problems, start=first)
        ]
        asked = asked_budgets(job, collector.fmt, f"grpo {step}", problems)
        share = ctx.world.share
        return ctx.world.merge(collector.collect(share(problems), share(seeds), share(asked)))


@dataclass(frozen=True)
class Examiner:
    """Measures the policy in training on held-out problems, and keeps the best.

    The reward it goes by is that of the end of training, as configured, so that evaluations compare whatever alpha
    was then and whatever the reward remembers. The reward's controller learns from what was measured.
    """

    problems: Sequence[Problem]
    collector: Collector
    policy: Policy
    loop: Loop
    job: Job
    shape: Shape
    controller: Controller

    def __call__(self) -> dict[str, float]:
        """Metrics under `eval/<data set>/`; writes `checkpoints/best` if the reward is the highest yet."""
        outcomes = self._outcomes()
        rewards = [r for group in outcomes for r in self.shape(group, 1.0)]
        self.controller.validate(outcomes)
        result = summarise(outcomes) | {"reward": fmean(rewards)}
        name, extra = self.job.dataset.name, self.loop.extra
        extra["result"] = {f"{name}/{key}": value for key, value in result.items()}
        if result["reward"] > extra.get("best", -math.inf):
            extra["best"] = result["reward"]
            card = model_card(self.job, self.collector.fmt, self.loop.ctx.folder.path.name)
            self.loop.saved.save_policy("best", self.policy, self.loop.engine, card)
        return {f"eval/{name}/{key}": value for key, value in result.items() if not key.startswith("level_")}

    def _outcomes(self) -> list[list[Outcome]]:
        world = self.loop.ctx.world
        share = world.share(self.problems)
        with self.loop.engine.whole_weights():
            asked = asked_budgets(self.job, self.collector.fmt, "examine", share)
            groups = self.collector.collect(share, seeds_for(self.job, "examine", share, 1), asked)
        return [[sample.outcome for sample in group] for group in world.merge(groups)]


def _odd_algorithm(job: Job) -> list[str]:
    algorithm, notes = job.algorithm, []
    if job.reward.needs_format == "budget" and not algorithm.budget_entropy_start:
        notes.append(
            "algorithm.budget_entropy_start is 0: budgets then tend to lock onto one number; "
            "algorithm=budget_grpo or algorithm.budget_entropy_start=... avoids it"
        )
    if algorithm.mismatch.endswith("mask") and not algorithm.mismatch_floor:
        notes.append(
            f"algorithm.mismatch_floor is 0: {algorithm.mismatch} cuts above mismatch_cap alone; "
            "IcePop's masks go from 0.5 to 5"
        )
    return notes


COMPLETIONS_LOGGED = 16
"""Completions written to completions.jsonl every `log_every` steps: two groups of eight."""


def draw(pool: Sequence[Problem], start: int, count: int, seed: int) -> list[Problem]:
    """Problems number `start` to `start + count` of an endless list that shuffles the pool anew each time round."""
    chosen = []
    for epoch, position in (divmod(i, len(pool)) for i in range(start, start + count)):
        chosen.append(pool[_order(len(pool), seed, epoch)[position]])
    return chosen


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> list[int]:
    return Random(derive_seed(seed, "order", epoch)).sample(range(size), size)


def frozen_copy(model: "PreTrainedModel", temperature: float) -> PolicyModule:
    """The policy as it is now, to measure the KL divergence from."""
    return PolicyModule(copy.deepcopy(model), temperature).requires_grad_(False).eval()
