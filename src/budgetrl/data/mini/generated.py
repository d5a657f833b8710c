"""The settings of a generated task, whose problems are drawn rather than read."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from budgetrl.core.checks import require, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.mini.sums import LEVELS
from budgetrl.data.mini.tasks import TASKS, Task
from budgetrl.data.sources.base import DatasetSettings, Loaded, Split


@dataclass(frozen=True)
class GeneratedSettings(DatasetSettings):
    """Problems of a task, drawn from a seed: levels in equal shares, the same operands in every task.

    A problem of the smallest levels can stand in both splits: there are only 36 of level 2.
    """

    seed: int = 0
    """Seed of the generated problems; the evaluation problems have a stream of their own."""
    size: int = 2800
    """Training problems."""
    eval_size: int = 1050
    """Evaluation problems."""
    levels: tuple[int, ...] | None = None
    """Levels of the problems in equal shares, each from 2 to 16; null for 2, 3, 4, 6, 8, 12 and 16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, float("inf"), "size", "eval_size")
        if self.levels is not None:
            lowest, highest = min(LEVELS), max(LEVELS)
            are_levels = bool(self.levels) and lowest <= min(self.levels) and max(self.levels) <= highest
            require(are_levels, "levels", f"must be numbers from {lowest} to {highest}, got {list(self.levels)}")

    @property
    @abstractmethod
    def task(self) -> Task:
        """What problems are, and how solutions of them are written."""

    def read(self, split: Split) -> Loaded:
        """The problems of a split; their ids tell task and split."""
        task, levels = self.task, self.levels or LEVELS
        rng = Random(derive_seed("mini", self.seed, split))
        problems: list[Problem] = []
        for number in range(self.size_of(split)):
            drawn = task.draw_problem(rng, levels[number % len(levels)])
            id_ = f"{self.source}-{split}-{number}"
            problems.append(Problem(id_, drawn.text, str(drawn.answer), drawn.level, self.source))
        return Loaded(problems)

    def size_of(self, split: Split) -> int:
        return self.size if split == "train" else self.eval_size


def model_warnings(model: str, datasets: Iterable[DatasetSettings]) -> list[Message]:
    """What to tell where the settings of a mini model meet problems that are of no generated task."""
    are_generated = all(isinstance(dataset, GeneratedSettings) for dataset in datasets)
    if model not in TASKS or are_generated:
        return []
    text = f"{model} has the instructions of a generated task, and the problems are of none"
    hint = "for a model of your own say model=hf, and how long its answers may be (max_new_tokens)"
    return [Message("model", text, hint)]
