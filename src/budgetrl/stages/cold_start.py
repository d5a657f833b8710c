"""`cold_start`: teach a response format on the model's own right answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import ClassVar

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.problems import count_problems
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.formats.formats import AUTO, EASY_ABOVE, FORMATS, DifficultyFormat, PlainFormat, ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.metrics.summary import summarize
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.rollout.collect import Sample
from budgetrl.runs.health import FORMAT
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.rollout import OpenAISettings
from budgetrl.stages.base import Context, Job, Stage, token_lines
from budgetrl.stages.generation import (
    asked_budgets,
    collect_on_all_ranks,
    collector_for,
    open_verifier,
    problems_of,
    seeds_for,
    server_collector,
    work_through,
)
from budgetrl.stages.rows import Row
from budgetrl.stages.supervised import Example, Fit, fit
from budgetrl.training.batching import plan_micro_batches

TAUGHT = tuple(name for name, fmt in FORMATS.items() if fmt.taught)
"""Formats that a model has to be taught."""


@dataclass(frozen=True)
class ColdStart(Stage):
    """Sample the initial model, keep what is right and came to its end, fine-tune on it in the format to be taught.

    budget: every right answer, labeled with its true length, `<budget>length</budget><solution>answer</solution>`
    (SelfBudgeter, section on cold start; epochs, learning rate and batch are ours, the paper gives none).
    difficulty: one right answer a problem under AdaCtrl's tag, the shortest where the problem is easy, the longest
    where it is hard (ours, after AdaCtrl's mixture of short easy and long hard solutions).
    """

    name: str = "cold_start"
    format: str = "auto"
    """The format to teach: auto (the reward's, or budget if that needs no teaching), budget or difficulty."""
    problems: int | None = 2800
    """Most training problems to sample; null for all."""
    samples: int | None = None
    """Completions of each problem; null: 1, or 8 for difficulty, which is judged by the share that is right."""
    temperature: float = 1.0
    """Of the sampling."""
    max_new_tokens: int = 420
    """Longest completion to sample, in tokens."""
    epochs: float = 2.5
    """Passes over what was kept."""
    steps: int | None = None
    """Optimizer steps; null: as many as `epochs` take."""
    tokens_per_step: int = 4096
    """Padded tokens an optimizer step."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(2e-3, 20, "cosine", 0.02, (0.9, 0.95), 0.01))
    """The learning rate and its schedule."""
    save_every: int = 200
    """Steps between states to resume from."""
    check_problems: int = 210
    """Held-out problems on which format and match are measured afterwards; 0 for none."""

    served: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_option(self, ("auto", *TAUGHT), "format")
        require_range(self, 1, math.inf, "max_new_tokens", "tokens_per_step", "tokens_per_device")
        require_range(self, 1, math.inf, "save_every")
        require_range(self, 0, math.inf, "temperature", "epochs", "check_problems")
        require(self.epochs > 0 or self.steps is not None, "epochs", "0 would teach nothing; give more, or set steps")
        require_count(self, "problems", "samples", "steps")

    def plan(self, job: Job) -> dict[str, object]:
        return {
            "format": self.taught(job).name,
            "problems sampled": self.problems or "all",
            "completions a problem": self._samples(job),
            "optimizer steps": self.steps or f"{self.epochs:g} epochs",
            "padded tokens a step": self.tokens_per_step,
            **self._token_lines(job),
        }

    def _token_lines(self, job: Job) -> dict[str, object]:
        """As if all that is sampled were right and as long as can be."""
        problems = count_problems(job.dataset, "train", self.problems)
        sampled = problems and problems * self._samples(job) * self.max_new_tokens
        checked = self.check_problems * self.max_new_tokens
        learned = self.steps * self.tokens_per_step if self.steps else sampled and math.ceil(self.epochs * sampled)
        return token_lines(sampled and sampled + checked, learned)

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return [(job.dataset, "train"), *([(job.dataset, "eval")] if self.check_problems else [])]

    def check(self, job: Job) -> list[str]:
        if self.taught(job).name == "difficulty" and self._samples(job) == 1:
            return ["stage.samples: a problem's difficulty is judged by several samples; set 2 or more, or null"]
        if self.check_problems and isinstance(job.rollout, OpenAISettings):
            return ["stage.check_problems: the server has the initial model, not the one that is taught here; set 0"]
        return []

    def taught(self, job: Job) -> ResponseFormat:
        """The format that this stage teaches."""
        read = job.reward.needs_format if job.reward.needs_format in TAUGHT else "budget"
        return job.model.response_format(read if self.format == AUTO else self.format)

    def _samples(self, job: Job) -> int:
        return self.samples or (8 if self.taught(job).name == "difficulty" else 1)

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        policy = load_policy(job.model, PlainFormat(), ctx.world.device)
        with open_verifier(ctx) as verifier:
            rows = self._sample(policy, verifier, job, ctx)
            examples = [_example(row) for row in rows if row["kept"]]
            kept = {"sampled": float(len(rows)), "kept": len(examples) / len(rows)}
            if not examples:
                raise RequestError(f"the model answered none of {len(rows)} problems right: nothing to learn from")
            ctx.say(f"kept {len(examples)} of {len(rows)} completions, all of them right and finished in time")
            steps, batch_at = self._batches(examples, job.seed)
            how = Fit(steps, self.optimizer, self.tokens_per_device, self.save_every, self.taught(job))
            taught = fit(policy, batch_at, how, job, ctx)
            return kept | self._check(
                replace(job, model=replace(job.model, path=str(taught), revision=None)), verifier, ctx
            )

    def _sample(self, policy: Policy, verifier: Verifier, job: Job, ctx: Context) -> list[Row]:
        """The model's own completions of the training problems, a row each in samples.jsonl."""
        if isinstance(server := job.rollout, OpenAISettings):
            collector = server_collector(server, PlainFormat(), self, verifier, job)
        else:
            collector = collector_for(policy, PlainFormat(), self, verifier, job)
        problems = problems_of(job.dataset, "train", self.problems, verifier, ctx)
        taught, samples = self.taught(job), self._samples(job)

        def work(share: Sequence[Problem]) -> list[list[Row]]:
            groups = collector.collect(share, seeds_for(job, self.name, share, samples))
            return [_rows(group, taught, policy.codec) for group in groups]

        path = ctx.folder.path / "samples.jsonl"
        return work_through(problems, work, path, samples, "sampling the initial model", job, ctx)

    def _batches(self, examples: Sequence[Example], seed: int) -> tuple[int, partial]:
        """The number of steps, and the examples of each: shuffled every epoch, like lengths together."""
        per_epoch = plan_micro_batches([e.size for e in examples], self.tokens_per_step)
        steps = self.steps or math.ceil(self.epochs * len(per_epoch))
        return steps, partial(_batch_at, examples, per_epoch, seed)

    def _check(self, job: Job, verifier: Verifier, ctx: Context) -> dict[str, float]:
        """Format and match of the cold-started model on held-out problems."""
        if not self.check_problems:
            return {}
        taught = self.taught(job)
        policy = load_policy(job.model, taught, ctx.world.device)
        problems = problems_of(job.dataset, "eval", self.check_problems, verifier, ctx)
        collector = collector_for(policy, taught, self, verifier, job)
        asked, seeds = asked_budgets(job, taught, "check", problems), seeds_for(job, "check", problems, 1)
        groups = collect_on_all_ranks(collector, problems, seeds, asked, ctx.world)
        metrics = summarize([[sample.outcome for sample in group] for group in groups])
        ctx.say(_told(metrics["format"], taught))
        return {key: value for key, value in metrics.items() if not key.startswith("level_")}


def _told(share: float, taught: ResponseFormat) -> str:
    told = f"{100 * share:.0f} % of the answers to held-out problems keep the {taught.name} format"
    advice = "" if share >= FORMAT else ". GRPO learns little from the others: take more problems, or more epochs"
    return told + advice


def _rows(group: Sequence[Sample], taught: ResponseFormat, codec: TextCodec) -> list[Row]:
    right = [n for n, sample in enumerate(group) if sample.outcome.correct and sample.outcome.well_formed]
    if isinstance(taught, DifficultyFormat):
        easy = len(right) > EASY_ABOVE * len(group)
        one = (min if easy else max)(right, key=lambda n: group[n].outcome.length, default=None)
        targets = [codec.tagged_target(taught, easy, sample.reading.body_ids) for sample in group]
        right = [] if one is None else [one]
    else:
        targets = [codec.target(sample.outcome.length, sample.reading.body_ids) for sample in group]
    prompt = codec.prompt(group[0].problem.problem, taught).all_ids
    return [
        _row(sample, n in right, prompt, target) for n, (sample, target) in enumerate(zip(group, targets, strict=True))
    ]


def _row(sample: Sample, kept: bool, prompt: Sequence[int], target: Sequence[int]) -> Row:
    return {
        "problem_id": sample.problem.id,
        "kept": kept,
        "correct": sample.outcome.correct,
        "length": sample.outcome.length,
        "prompt_ids": prompt,
        "response_ids": target,
    }


def _example(row: Row) -> Example:
    return Example(tuple(row["prompt_ids"]), tuple(row["response_ids"]))


def _batch_at(examples: Sequence[Example], batches: Sequence[Sequence[int]], seed: int, step: int) -> list[Example]:
    epoch, position = divmod(step, len(batches))
    order = Random(derive_seed(seed, "cold start", epoch)).sample(range(len(batches)), len(batches))
    return [examples[i] for i in batches[order[position]]]
