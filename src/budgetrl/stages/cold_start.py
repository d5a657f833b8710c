"""`cold_start`: teach the budget format on the model's own right answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from budgetrl.budget.checks import require_count, require_range
from budgetrl.budget.errors import RequestError
from budgetrl.budget.format import BudgetFormat, PlainFormat
from budgetrl.budget.metrics import summarise
from budgetrl.budget.records import Problem
from budgetrl.budget.seeds import derive_seed
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.rollout.collect import Sample
from budgetrl.stages.base import Context, Job, Stage
from budgetrl.stages.generation import (
    Row,
    collector_for,
    open_verifier,
    problems_of,
    seeds_for,
    work_through,
)
from budgetrl.stages.supervised import Example, Fit, fit
from budgetrl.training.batching import plan_micro_batches
from budgetrl.training.optim import Optimiser
from budgetrl.verify.pool import Verifier


@dataclass(frozen=True)
class ColdStart(Stage):
    """Sample the initial model, keep what is right and came to its end, label it with its true length,
    fine-tune on `<budget>length</budget><solution>answer</solution>` (the paper, section on cold start;
    epochs, learning rate and batch are ours, the paper gives none)."""

    name: str = "cold_start"
    problems: int | None = 2800
    """Most training problems to sample; null for all."""
    samples: int = 1
    """Completions of each problem."""
    temperature: float = 1.0
    """Of the sampling."""
    max_new_tokens: int = 420
    """Longest completion to sample, in tokens."""
    epochs: float = 2.5
    """Passes over what was kept."""
    steps: int | None = None
    """Optimiser steps; null: as many as `epochs` take."""
    tokens_per_step: int = 4096
    """Padded tokens an optimiser step."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(2e-3, 20, "cosine", 0.02, (0.9, 0.95), 0.01))
    """The learning rate and its schedule."""
    save_every: int = 200
    """Steps between states to resume from."""
    check_problems: int = 210
    """Held-out problems on which format and match are measured afterwards; 0 for none."""

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "samples", "max_new_tokens", "tokens_per_step", "tokens_per_device")
        require_range(self, 1, math.inf, "save_every")
        require_range(self, 0, math.inf, "temperature", "epochs", "check_problems")
        require_count(self, "problems", "steps")

    def plan(self, job: Job, ranks: int) -> dict[str, object]:
        return {
            "problems sampled": self.problems or "all",
            "completions a problem": self.samples,
            "optimiser steps": self.steps or f"{self.epochs:g} epochs",
            "padded tokens a step": self.tokens_per_step,
        }

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        policy = load_policy(job.model, PlainFormat(), ctx.world.device)
        with open_verifier(ctx) as verifier:
            rows = self._sample(policy, verifier, job, ctx)
            examples = [_example(row) for row in rows if row["kept"]]
            kept = {"sampled": float(len(rows)), "kept": len(examples) / len(rows)}
            if not examples:
                raise RequestError(f"the model answered none of {len(rows)} problems right: nothing to learn from")
            ctx.say(f"kept {len(examples)} of {len(rows)} completions: right, and at their end in time")
            steps, batch_at = self._batches(examples, job.seed)
            how = Fit(steps, self.optimiser, self.tokens_per_device, self.save_every)
            taught = fit(policy, batch_at, how, job, ctx)
            return kept | self._check(replace(job, model=replace(job.model, path=str(taught))), verifier, ctx)

    def _sample(self, policy: Policy, verifier: Verifier, job: Job, ctx: Context) -> list[Row]:
        """The model's own completions of the training problems, a row each in samples.jsonl."""
        collector = collector_for(policy, PlainFormat(), self, verifier, job)
        problems = problems_of(job.dataset, "train", self.problems, verifier, ctx)

        def work(share: Sequence[Problem]) -> list[list[Row]]:
            groups = collector.collect(share, seeds_for(job, self.name, share, self.samples))
            return [[_row(sample, policy.codec) for sample in group] for group in groups]

        path = ctx.folder.path / "samples.jsonl"
        return work_through(problems, work, path, self.samples, "sampling the initial model", job, ctx)

    def _batches(self, examples: Sequence[Example], seed: int) -> tuple[int, partial]:
        """The number of steps, and the examples of each: shuffled every epoch, like lengths together."""
        per_epoch = plan_micro_batches([e.size for e in examples], self.tokens_per_step)
        steps = self.steps or math.ceil(self.epochs * len(per_epoch))
        return steps, partial(_batch_at, examples, per_epoch, seed)

    def _check(self, job: Job, verifier: Verifier, ctx: Context) -> dict[str, float]:
        """Format and match of the cold-started model on held-out problems."""
        if not self.check_problems:
            return {}
        policy = load_policy(job.model, BudgetFormat(), ctx.world.device)
        problems = problems_of(job.dataset, "eval", self.check_problems, verifier, ctx)
        collector = collector_for(policy, BudgetFormat(), self, verifier, job)
        share = ctx.world.share(problems)
        groups = ctx.world.merge(collector.collect(share, seeds_for(job, "check", share, 1)))
        metrics = summarise([[sample.outcome for sample in group] for group in groups])
        return {key: value for key, value in metrics.items() if not key.startswith("level_")}


def _row(sample: Sample, codec: TextCodec) -> Row:
    outcome = sample.outcome
    body = sample.reading.body_ids
    prompt = codec.prompt(sample.problem.problem, BudgetFormat()).all_ids
    return {
        "problem_id": sample.problem.id,
        "kept": outcome.correct and outcome.well_formed,
        "correct": outcome.correct,
        "length": outcome.length,
        "prompt_ids": prompt,
        "response_ids": codec.target(outcome.length, body),
    }


def _example(row: Row) -> Example:
    return Example(tuple(row["prompt_ids"]), tuple(row["response_ids"]))


def _batch_at(examples: Sequence[Example], batches: Sequence[Sequence[int]], seed: int, step: int) -> list[Example]:
    epoch, position = divmod(step, len(batches))
    order = Random(derive_seed(seed, "cold start", epoch)).sample(range(len(batches)), len(batches))
    return [examples[i] for i in batches[order[position]]]
