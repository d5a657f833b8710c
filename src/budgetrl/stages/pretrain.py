"""`pretrain`: make the base model of a generated task from nothing, on solutions that the task writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random

from transformers import PreTrainedTokenizerBase

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.seeds import derive_seed
from budgetrl.data.mini.model import BUDGET_STYLES, budget_grid, make_model, make_tokenizer
from budgetrl.data.mini.sums import COUNT_WORDS
from budgetrl.data.mini.tasks import TASKS, Task
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.formats.formats import BudgetFormat, PlainFormat
from budgetrl.policy.loading import Policy, make_codec
from budgetrl.settings.optimizer import Optimizer
from budgetrl.stages.base import Context, Job, Stage
from budgetrl.stages.evaluate import Evaluate
from budgetrl.stages.supervised import Example, Fit, fit

BATCHES_PER_SHUFFLE = 64
"""Examples for that many steps are drawn at once and sorted by length, so that a step has little padding."""
DECISIONS = {"wait", "\\boxed{", *COUNT_WORDS}
"""The words that decide how long a solution becomes."""


@dataclass(frozen=True)
class Pretrain(Stage):
    """From scratch on the task that the data set is of. A share of the prompts carries a length hint, and the solution
    then plans the number of re-checks that comes closest: what later makes budgets controllable."""

    name: str = "pretrain"
    budget_style: str = "grid"
    """How the tokenizer writes budgets: grid (one token each) or digits."""
    steps: int = 7000
    """Optimizer steps."""
    tokens_per_step: int = 4096
    """Padded tokens an optimizer step."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    hinted_share: float = 0.5
    """Share of prompts with a length hint."""
    decision_weight: float = 5.0
    """Loss weight of the words that decide the length; the others weigh 1."""
    decision_weight_until: float = 0.8
    """Share of the steps after which they weigh 1 too."""
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(5e-3, 100, "cosine", 0.02, (0.9, 0.95), 0.01))
    """The learning rate and its schedule."""
    save_every: int = 500
    """Steps between states to resume from."""

    def __post_init__(self) -> None:
        require_option(self, BUDGET_STYLES, "budget_style")
        require_range(self, 1, math.inf, "steps", "tokens_per_step", "tokens_per_device", "save_every")
        require_range(self, 0, 1, "hinted_share", "decision_weight_until")

    def plan(self, job: Job) -> dict[str, object]:
        return {"optimizer steps": self.steps, "padded tokens": self.steps * self.tokens_per_step}

    def check(self, job: Job) -> list[str]:
        if job.dataset.source in TASKS:
            return []
        return [f"dataset.source: stage=pretrain needs a generated task; take one of {', '.join(TASKS)}"]

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return Evaluate().reads(job)

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        task = TASKS[job.dataset.source]
        tokenizer = make_tokenizer(self.budget_style)
        model = make_model(len(tokenizer), job.seed)
        model.to(ctx.world.device)  # pyright: ignore[reportArgumentType]: transformers' decorated signature
        policy = Policy(model, make_codec(tokenizer, job.model))
        how = Fit(self.steps, self.optimizer, self.tokens_per_device, self.save_every, PlainFormat())
        base = fit(policy, lambda step: self.examples(task, job.seed, step, tokenizer), how, job, ctx)
        return self._check(replace(job, model=replace(job.model, path=str(base))), ctx)

    def _check(self, job: Job, ctx: Context) -> dict[str, float]:
        """How right and how long the base model is on held-out problems."""
        return Evaluate(format="plain").run(job, ctx)

    def examples(self, task: Task, seed: int, step: int, tokenizer: PreTrainedTokenizerBase) -> Sequence[Example]:
        """The examples of a step: a function of task, seed and step alone."""
        chunk = step // BATCHES_PER_SHUFFLE
        tokens = BATCHES_PER_SHUFFLE * self.tokens_per_step
        batches = _batches(task, tokenizer, derive_seed(seed, chunk), tokens, self.tokens_per_step, self.hinted_share)
        examples = batches[step % BATCHES_PER_SHUFFLE % len(batches)]
        if step >= self.decision_weight_until * self.steps:
            return examples
        decisions = {tokenizer.get_vocab()[f"▁{word}"] for word in DECISIONS}
        return [_weighted(e, decisions, self.decision_weight) for e in examples]


def _weighted(example: Example, decisions: set[int], weight: float) -> Example:
    weights = tuple(weight if i in decisions else 1.0 for i in example.response_ids)
    return Example(example.prompt_ids, example.response_ids, weights)


@lru_cache(maxsize=2)
def _batches(
    task: Task, tokenizer: PreTrainedTokenizerBase, seed: int, tokens: int, tokens_per_step: int, hinted_share: float
) -> list[list[Example]]:
    """Batches of about `tokens_per_step` padded tokens, each of solutions of like length, in random order."""
    rng = Random(seed)
    pairs: list[tuple[str, str]] = []
    drawn = 0
    while drawn < tokens:
        pairs.append(draw_example(task, rng, hinted_share))
        drawn += len(pairs[-1][0].split()) + len(pairs[-1][1].split()) + 1
    prompts, responses = (tokenizer([p[i] for p in pairs], add_special_tokens=False).input_ids for i in (0, 1))
    end = tokenizer.get_vocab()["<eos>"]
    examples = [Example(tuple(p), (*r, end)) for p, r in zip(prompts, responses, strict=True)]
    examples.sort(key=lambda e: e.size)
    batches: list[list[Example]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * example.size > tokens_per_step:
            batches.append([])
        batches[-1].append(example)
    rng.shuffle(batches)
    return batches


def draw_example(task: Task, rng: Random, hinted_share: float) -> tuple[str, str]:
    """Prompt and solution as text. With a hint, the plan is the one whose solution comes closest to it."""
    problem = task.draw_problem(rng)
    if rng.random() >= hinted_share:
        checks = task.draw_checks(rng, problem.level)
        return f"<user> {problem.text}<assistant>", f" {task.solve(rng, problem, checks)}"
    shortest, longest = task.HINTS
    hint = rng.choice([n for n in budget_grid() if shortest <= n <= longest])
    solution = task.solve(rng, problem, task.checks_for(problem.level, hint))
    return f"<user> {problem.text}{BudgetFormat().prefill(hint)}<assistant>", f" {solution}"
