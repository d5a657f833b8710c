"""The generated tasks by name. Their problems have the same form; they differ in what re-checks are worth."""

from collections.abc import Mapping
from random import Random
from typing import Protocol

from budgetrl.data.mini import gaps, sums
from budgetrl.data.mini.sums import Sum


class Task(Protocol):
    """A module that draws problems and writes solutions. Lengths are in tokens; one word is one token."""

    # The modules `sums` and `gaps` implement this protocol with their functions.
    HINT_RANGE: tuple[int, int]

    def draw_problem(self, rng: Random, level: int | None = None) -> Sum: ...
    def draw_checks(self, rng: Random, level: int) -> int: ...
    def checks_for(self, level: int, length: int) -> int: ...
    def solve(self, rng: Random, problem: Sum, checks: int) -> str: ...


TASKS: Mapping[str, Task] = {"mini": sums, "mini_tradeoff": gaps}
"""Tasks by name. Data sets and families of shipped checkpoints have the same names."""
