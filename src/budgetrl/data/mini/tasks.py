"""The generated tasks by name: problems of the same look, solved at different lengths and prices."""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.mini import gaps, sums
from budgetrl.data.mini.sums import LEVELS, Sum

if TYPE_CHECKING:
    from budgetrl.data.spec import DatasetSettings


class Task(Protocol):
    """What problems are, and how solutions of them are written. Lengths are in tokens, a word a token."""

    HINTS: tuple[int, int]

    def draw_problem(self, rng: Random, level: int | None = None) -> Sum: ...
    def draw_checks(self, rng: Random, level: int) -> int: ...
    def checks_for(self, level: int, length: int) -> int: ...
    def solve(self, rng: Random, problem: Sum, checks: int) -> str: ...


TASKS: Mapping[str, Task] = {"mini": sums, "mini_tradeoff": gaps}
"""Names of data sets; the shipped checkpoints have the same names."""
CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""The shipped checkpoints: `<task>/<name>`, each a folder that transformers loads."""


def generate(spec: "DatasetSettings", split: str) -> list[Problem]:
    """The train or the eval problems: seeded, levels in equal shares, the same operands in every task.

    A problem of the smallest levels can stand in both splits: there are only 36 of level 2.
    """
    name, task = spec.source, TASKS[spec.source]
    size = spec.size if split == "train" else spec.eval_size
    rng = Random(derive_seed("mini", spec.seed, split))
    levels = spec.levels or LEVELS
    drawn = [task.draw_problem(rng, levels[i % len(levels)]) for i in range(size)]
    return [Problem(f"{name}-{split}-{i}", p.text, str(p.answer), p.level, name) for i, p in enumerate(drawn)]
