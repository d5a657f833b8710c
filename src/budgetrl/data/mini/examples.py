"""Pretraining data for the base model of a generated task: solutions, some of them with a length hint in the prompt."""

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

from budgetrl.core.records import Datum
from budgetrl.core.seeds import derive_seed
from budgetrl.data.mini.model import budget_grid
from budgetrl.data.mini.sums import COUNT_WORDS
from budgetrl.data.mini.tasks import Task
from budgetrl.formats.budget import BudgetFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCHES_PER_SHUFFLE = 64
"""Solutions for this many steps are drawn at once and sorted by length, which keeps padding low."""
DECISIONS = {"wait", "\\boxed{", *COUNT_WORDS}
"""The words whose choice determines the length of a solution."""


@dataclass(frozen=True)
class Solutions:
    """An endless stream of batches of solutions of similar length. A batch depends only on task, seed and step."""

    task: Task
    tokenizer: "PreTrainedTokenizerBase"
    seed: int
    tokens_per_step: int
    """Maximum padded tokens per batch."""
    hinted_share: float
    """Share of prompts with a length hint."""

    def batch(self, step: int) -> list[Datum]:
        """Return the solutions for a step."""
        # Batches are drawn in blocks for about BATCHES_PER_SHUFFLE steps, with one seed per block. A resumed run gets
        # the same batches. The number of batches in a block varies, hence the second modulo.
        seed = derive_seed(self.seed, step // BATCHES_PER_SHUFFLE)
        batches = _batches(self.task, self.tokenizer, seed, self.tokens_per_step, self.hinted_share)
        return batches[step % BATCHES_PER_SHUFFLE % len(batches)]

    def weighted_batch(self, step: int, weight: float) -> list[Datum]:
        """Return the same solutions, with loss weight `weight` on the tokens in `DECISIONS` and 1 on all others."""
        vocabulary = self.tokenizer.get_vocab()
        decisions = {vocabulary[f"▁{word}"] for word in DECISIONS}  # "▁" marks the space before a word
        weighted: list[Datum] = []
        for solution in self.batch(step):
            weights = tuple(weight if token in decisions else 1.0 for token in solution.response_ids)
            weighted.append(replace(solution, weights=weights))
        return weighted


def draw_example(task: Task, rng: Random, hinted_share: float) -> tuple[str, str]:
    """Return a prompt and a solution as text. With a length hint, the number of re-checks is chosen to match it."""
    # The order of the calls to rng must not change: the shipped checkpoints were trained on these draws.
    problem = task.draw_problem(rng)
    if rng.random() >= hinted_share:
        checks = task.draw_checks(rng, problem.level)
        return f"<user> {problem.text}<assistant>", f" {task.solve(rng, problem, checks)}"
    shortest, longest = task.HINT_RANGE
    hint = rng.choice([n for n in budget_grid() if shortest <= n <= longest])
    solution = task.solve(rng, problem, task.checks_for(problem.level, hint))
    return f"<user> {problem.text}{BudgetFormat().prefill(hint)}<assistant>", f" {solution}"


@lru_cache(maxsize=2)  # consecutive steps take their batches from the same list
def _batches(
    task: Task, tokenizer: "PreTrainedTokenizerBase", seed: int, tokens_per_step: int, hinted_share: float
) -> list[list[Datum]]:
    """Batches for about `BATCHES_PER_SHUFFLE` steps in random order, each with solutions of similar length."""
    rng = Random(seed)
    solutions = _draw_solutions(task, tokenizer, rng, BATCHES_PER_SHUFFLE * tokens_per_step, hinted_share)
    solutions.sort(key=lambda solution: solution.size)
    batches: list[list[Datum]] = [[]]
    for solution in solutions:
        padded = (len(batches[-1]) + 1) * solution.size  # sorted by size, so this one is the longest so far
        if batches[-1] and padded > tokens_per_step:
            batches.append([])
        batches[-1].append(solution)
    rng.shuffle(batches)
    return batches


def _draw_solutions(
    task: Task, tokenizer: "PreTrainedTokenizerBase", rng: Random, tokens: int, hinted_share: float
) -> list[Datum]:
    """Solutions with about `tokens` tokens in total, each ending with the end token."""
    prompts: list[str] = []
    responses: list[str] = []
    drawn = 0  # tokens so far; a word is one token
    while drawn < tokens:
        prompt, response = draw_example(task, rng, hinted_share)
        prompts.append(prompt)
        responses.append(response)
        drawn += len(prompt.split()) + len(response.split()) + 1
    # Tokenized in one call each, because the fast tokenizer works in parallel on a list.
    end = tokenizer.get_vocab()["<eos>"]
    prompt_ids = tokenizer(prompts, add_special_tokens=False).input_ids
    response_ids = tokenizer(responses, add_special_tokens=False).input_ids
    pairs = zip(prompt_ids, response_ids, strict=True)
    return [Datum(tuple(prompt), (*response, end)) for prompt, response in pairs]
