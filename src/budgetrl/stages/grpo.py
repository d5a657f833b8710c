"""`grpo`: budget-guided group-relative policy optimization."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_count, require_option, require_range
from budgetrl.core.records import Problem
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.formats.formats import FORMAT_NAMES
from budgetrl.policy.card import model_card
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.policy.module import PolicyModule
from budgetrl.report.comparable import HASHES
from budgetrl.rollout.collect import Collector
from budgetrl.settings.model import MINI
from budgetrl.settings.optimizer import Optimizer, learning_rate
from budgetrl.stages.base import Context, Job, Stage, chosen_format, format_faults, length_faults, token_lines
from budgetrl.stages.examiner import Examiner, Standing
from budgetrl.stages.generation import Row, collector_for, open_verifier, problems_of, say_overlap
from budgetrl.stages.label import Label, read_labels
from budgetrl.stages.loop import Loop, Stopwatch
from budgetrl.stages.provenance import hashes_of
from budgetrl.stages.rollouts import Rollout
from budgetrl.stages.writing import Writer
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.engine import ZeroEngine
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
    """Optimizer steps."""
    prompts_per_step: int = 16
    """Prompts of an optimizer step, over all ranks."""
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
    optimizer: Optimizer = field(default_factory=Optimizer)
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
        updates = algorithm.optimizer_steps_per_rollout
        return {
            "optimizer steps": self.steps,
            "rollouts": math.ceil(self.steps / updates),
            "labels": self._labels_from(job),
            "prompts a step": self.prompts_per_step,
            "completions a step": f"{per_step} ({self.prompts_per_step} prompts x {self.group_size})",
            "completions a rollout": per_step * updates,
            **({"rollouts to fill a batch, at most": algorithm.max_rollouts} if algorithm.drops_groups else {}),
            "completions in all": per_step * self.steps,
            **token_lines(self._most_written(job), per_step * self.steps * self.max_new_tokens),
        }

    def _most_written(self, job: Job) -> int | None:
        """Tokens of rollouts, evaluations and labels, if every completion runs into the limit."""
        attempts = job.algorithm.max_rollouts if job.algorithm.drops_groups else 1
        rollouts = attempts * self.steps * self.prompts_per_step * self.group_size
        examined = self.eval_problems * sum(self._due(step, self.eval_every) for step in range(1, self.steps + 1))
        asked = job.reward.needs_b_max and not self.labels
        labels = self._labeling(job).most_written(job) if asked else 0
        return None if labels is None else (rollouts + examined) * self.max_new_tokens + labels

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return [(job.dataset, "train"), (job.dataset, "eval")]

    def check(self, job: Job) -> list[str]:
        faults = format_faults(self.format, job) + length_faults("stage.max_new_tokens", self.max_new_tokens, job)
        faults += job.reward.faults(job.algorithm)
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
        if self.steps % job.algorithm.optimizer_steps_per_rollout:
            notes.append("stage.steps is no multiple of algorithm.optimizer_steps_per_rollout: the last rollout is cut")
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
            return self._train(policy, Writer(pool, collector, self, job, ctx), held_out, job, ctx)

    def _train(
        self, policy: Policy, write: Writer, held_out: Sequence[Problem], job: Job, ctx: Context
    ) -> dict[str, float]:
        """The loop: problems -> completions -> outcomes -> rewards -> advantages -> optimizer steps."""
        reference = frozen_copy(policy.model, self.temperature) if job.algorithm.kl_coefficient else None
        shape, collector = job.reward.within(self.max_new_tokens), write.collector
        engine = ZeroEngine(PolicyModule(policy.model, self.temperature), job.zero, self.optimizer, ctx.world)
        saved, controller = Checkpoints(ctx.folder.checkpoints, ctx.world), shape.controller()
        standing, take_step = Standing(controller), PolicyStep(engine, reference)
        loop = Loop(ctx, engine, saved, self.steps, self.save_every, standing)
        examine = Examiner(held_out, collector, policy, loop, shape, standing, job)
        updates, done = job.algorithm.optimizer_steps_per_rollout, loop.resume()
        with ctx.progress.track(self.steps, "grpo", done) as bar:
            for first in range(done, self.steps, updates):
                watch, progress = Stopwatch(), self._progress(first)
                with engine.whole_weights():  # problems [P] -> completions [P, G] -> outcomes [P, G]
                    written = write(first, controller.shape, progress)
                watch.lap("rollout")
                # -> rewards [P, G] -> advantages [P, G]
                rollout = Rollout.of(written, controller, progress, job.algorithm, collector)
                old = take_step.logprobs(rollout.experience, self.tokens_per_device) if updates > 1 else None
                for step, span in enumerate(rollout.minibatches(updates)[: self.steps - first], start=first + 1):
                    # -> micro-batches -> log-probabilities [tokens] -> loss -> optimizer step -> metrics
                    metrics = take_step(rollout.experience[span], self._update(step - 1, job), old and old[span])
                    metrics |= rollout.metrics | written.effort | watch.lap("update", rollout.tokens)
                    if self._due(step, self.eval_every):
                        metrics |= examine()
                    if self._due(step, self.log_every):
                        _log_completions(rollout.rows(step, COMPLETIONS_LOGGED), step, ctx)
                    loop.finish_step(step, metrics, may_save=step in (first + updates, self.steps))
                    bar.update(1, **metrics)
        card = model_card(job.model, collector.fmt, job.dataset.name, job.seed, ctx.folder.path.name)
        saved.save_policy("last", policy, engine, collector.fmt, card)
        engine.close()
        return standing.result

    def _progress(self, step: int) -> float:
        """From 0 at the first step to 1 at the last; `step` counts from 0."""
        return step / max(1, self.steps - 1)

    def _due(self, step: int, every: int) -> bool:
        return step == self.steps or (every > 0 and step % every == 0)

    def _update(self, step: int, job: Job) -> Update:
        lr = learning_rate(step, self.steps, self.optimizer)
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
        rows = self._labeling(job).label(pool, collector, job, ctx)
        return {row["problem_id"]: math.inf if row["b_max"] is None else row["b_max"] for row in rows}

    def _labeling(self, job: Job) -> Label:
        """How the model is asked itself, with this stage's own limits."""
        fmt = chosen_format(self.format, job).name
        return Label(format=fmt, problems=self.problems, max_new_tokens=self.max_new_tokens)


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


def _log_completions(rows: Sequence[Row], step: int, ctx: Context) -> None:
    ctx.folder.append_completions(rows)
    ctx.tracker.log_completions(rows, step)


def frozen_copy(model: "PreTrainedModel", temperature: float) -> PolicyModule:
    """The policy as it is now, to measure the KL divergence from."""
    return PolicyModule(copy.deepcopy(model), temperature).requires_grad_(False).eval()
