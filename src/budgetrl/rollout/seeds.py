"""Random inputs of generation, derived from the run's seed: sampling seeds, and budgets for prompts."""

from collections.abc import Sequence

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.formats.base import ResponseFormat
from budgetrl.settings.config import Config


def sampling_seeds(config: Config, use: str, problems: Sequence[Problem], samples: int) -> list[list[int]]:
    """Return sampling seeds [P][n] with n = `samples`.

    A seed depends only on the run's seed, the use (such as "evaluate"), the problem's id and the sample's number, so it
    does not change with the number of ranks or the order of the problems.
    """
    seeds: list[list[int]] = []
    for problem in problems:
        seeds.append([derive_seed(config.seed, use, problem.id, n) for n in range(samples)])
    return seeds


def asked_budgets(config: Config, fmt: ResponseFormat, use: str, problems: Sequence[Problem]) -> list[int | None]:
    """Return the budget [P] that each prompt asks for, sampled by the reward. None if the format asks for none."""
    if fmt.budget_in != "prompt":
        return [None] * len(problems)
    budgets: list[int | None] = []
    for problem in problems:
        seed = derive_seed(config.seed, "asked", use, problem.id)
        budgets.append(config.reward.asked_budget(seed))
    return budgets
