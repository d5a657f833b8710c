"""`pretrain`: make the base model of a generated task from nothing, on solutions that the task writes."""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from transformers import PreTrainedTokenizerBase

from budgetrl.core.seeds import derive_seed
from budgetrl.data.mini.model import budget_grid, make_model, make_tokenizer
from budgetrl.data.mini.sums import COUNT_WORDS
from budgetrl.data.mini.tasks import TASKS, Task
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.registry import PLAIN
from budgetrl.policy.loading import Policy, make_codec
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.stages.pretrain import Pretrain
from budgetrl.stages import evaluate
from budgetrl.training.supervised import Example, Fit, fit

BATCHES_PER_SHUFFLE = 64
"""Examples for that many steps are drawn at once and sorted by length, so that a step has little padding."""
DECISIONS = {"wait", "\\boxed{", *COUNT_WORDS}
"""The words that decide how long a solution becomes."""


def run(stage: Pretrain, config: Config, ctx: Context) -> dict[str, float]:
    """Train from nothing, then measure how right and how long the base model is on held-out problems."""
    task = TASKS[config.dataset.source]
    tokenizer = make_tokenizer(stage.budget_style)
    model = make_model(len(tokenizer), config.seed)
    model.to(ctx.world.device)  # pyright: ignore[reportArgumentType]: transformers' decorated signature
    policy = Policy(model, make_codec(tokenizer, config.model))
    plain = config.model.response_format(PLAIN)
    how = Fit(stage.steps, stage.optimizer, stage.tokens_per_device, stage.save_every, plain)
    base = fit(policy, lambda step: examples(stage, task, config.seed, step, tokenizer), how, config, ctx)
    return evaluate.run(stage.check(), config.with_model(base), ctx)


def examples(
    stage: Pretrain, task: Task, seed: int, step: int, tokenizer: PreTrainedTokenizerBase
) -> Sequence[Example]:
    """The examples of a step: a function of task, seed and step alone."""
    chunk = step // BATCHES_PER_SHUFFLE
    tokens = BATCHES_PER_SHUFFLE * stage.tokens_per_step
    batches = _batches(task, tokenizer, derive_seed(seed, chunk), tokens, stage.tokens_per_step, stage.hinted_share)
    batch = batches[step % BATCHES_PER_SHUFFLE % len(batches)]
    if step >= stage.decision_weight_until * stage.steps:
        return batch
    decisions = {tokenizer.get_vocab()[f"▁{word}"] for word in DECISIONS}
    return [_weighted(e, decisions, stage.decision_weight) for e in batch]


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
