"""What a base model of a generated task learns: solutions that the task writes, some after a hint at their length."""

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
"""Solutions for that many steps are drawn at once and sorted by length, so that a step has little padding."""
DECISIONS = {"wait", "\\boxed{", *COUNT_WORDS}
"""The words that decide how long a solution becomes."""


@dataclass(frozen=True)
class Solutions:
    """An endless stream of solutions, in batches of like length: a function of task, seed and step alone."""

    task: Task
    tokenizer: "PreTrainedTokenizerBase"
    seed: int
    tokens_per_step: int
    """Padded tokens of a batch."""
    hinted_share: float
    """Share of prompts with a length hint."""

    def batch(self, step: int) -> list[Datum]:
        """The solutions of a step."""
        seed = derive_seed(self.seed, step // BATCHES_PER_SHUFFLE)
        batches = _batches(self.task, self.tokenizer, seed, self.tokens_per_step, self.hinted_share)
        return batches[step % BATCHES_PER_SHUFFLE % len(batches)]

    def weighted_batch(self, step: int, weight: float) -> list[Datum]:
        """The same, with this loss weight on the words that decide how long a solution becomes."""
        vocabulary = self.tokenizer.get_vocab()
        decisions = {vocabulary[f"▁{word}"] for word in DECISIONS}
        weighted: list[Datum] = []
        for solution in self.batch(step):
            weights = tuple(weight if token in decisions else 1.0 for token in solution.response_ids)
            weighted.append(replace(solution, weights=weights))
        return weighted


def draw_example(task: Task, rng: Random, hinted_share: float) -> tuple[str, str]:
    """Prompt and solution as text. With a hint, the plan is the one whose solution comes closest to it."""
    problem = task.draw_problem(rng)
    if rng.random() >= hinted_share:
        checks = task.draw_checks(rng, problem.level)
        return f"<user> {problem.text}<assistant>", f" {task.solve(rng, problem, checks)}"
    shortest, longest = task.HINT_RANGE
    hint = rng.choice([n for n in budget_grid() if shortest <= n <= longest])
    solution = task.solve(rng, problem, task.checks_for(problem.level, hint))
    return f"<user> {problem.text}{BudgetFormat().prefill(hint)}<assistant>", f" {solution}"


@lru_cache(maxsize=2)  # one step after the other takes its batch from the same list
def _batches(
    task: Task, tokenizer: "PreTrainedTokenizerBase", seed: int, tokens_per_step: int, hinted_share: float
) -> list[list[Datum]]:
    """Batches for about `BATCHES_PER_SHUFFLE` steps, each of solutions of like length, in random order."""
    rng = Random(seed)
    solutions = _draw_solutions(task, tokenizer, rng, BATCHES_PER_SHUFFLE * tokens_per_step, hinted_share)
    solutions.sort(key=lambda solution: solution.size)
    batches: list[list[Datum]] = [[]]
    for solution in solutions:
        padded = (len(batches[-1]) + 1) * solution.size  # sorted, so it is the longest of its batch
        if batches[-1] and padded > tokens_per_step:
            batches.append([])
        batches[-1].append(solution)
    rng.shuffle(batches)
    return batches


def _draw_solutions(
    task: Task, tokenizer: "PreTrainedTokenizerBase", rng: Random, tokens: int, hinted_share: float
) -> list[Datum]:
    """Solutions of about so many tokens in all; each ends with the end token."""
    prompts: list[str] = []
    responses: list[str] = []
    drawn = 0
    while drawn < tokens:
        prompt, response = draw_example(task, rng, hinted_share)
        prompts.append(prompt)
        responses.append(response)
        drawn += len(prompt.split()) + len(response.split()) + 1
    end = tokenizer.get_vocab()["<eos>"]
    prompt_ids = tokenizer(prompts, add_special_tokens=False).input_ids
    response_ids = tokenizer(responses, add_special_tokens=False).input_ids
    pairs = zip(prompt_ids, response_ids, strict=True)
    return [Datum(tuple(prompt), (*response, end)) for prompt, response in pairs]
