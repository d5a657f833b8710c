"""The generated tasks by name: problems of the same look, solved at different lengths and prices."""

from collections.abc import Mapping
from random import Random
from typing import Protocol

from budgetrl.data.mini import gaps, sums
from budgetrl.data.mini.sums import Sum


class Task(Protocol):
    """What problems are, and how solutions of them are written. Lengths are in tokens, a word a token."""

    HINT_RANGE: tuple[int, int]

    def draw_problem(self, rng: Random, level: int | None = None) -> Sum: ...
    def draw_checks(self, rng: Random, level: int) -> int: ...
    def checks_for(self, level: int, length: int) -> int: ...
    def solve(self, rng: Random, problem: Sum, checks: int) -> str: ...


TASKS: Mapping[str, Task] = {"mini": sums, "mini_tradeoff": gaps}
"""Names of data sets; the shipped checkpoints have the same names."""
