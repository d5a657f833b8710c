"""What is random about asking problems, derived from the run's seed: sampling seeds, and budgets to ask for."""

from collections.abc import Sequence

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.formats.base import ResponseFormat
from budgetrl.settings.config import Config


def sampling_seeds(config: Config, use: str, problems: Sequence[Problem], samples: int) -> list[list[int]]:
    """Seeds [P][n] that depend on the run's seed, the use, the problem and the sample alone."""
    seeds: list[list[int]] = []
    for problem in problems:
        seeds.append([derive_seed(config.seed, use, problem.id, n) for n in range(samples)])
    return seeds


def asked_budgets(config: Config, fmt: ResponseFormat, use: str, problems: Sequence[Problem]) -> list[int | None]:
    """The budget [P] that each prompt asks for, drawn as the reward says; None in a format that asks for none."""
    if fmt.budget_in != "prompt":
        return [None] * len(problems)
    return [config.reward.asked_budget(derive_seed(config.seed, "asked", use, p.id)) for p in problems]
