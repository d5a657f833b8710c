"""Settings of a generated task. Its problems are drawn at random instead of read from a file."""

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
    """Problems drawn from a seed, with the same number of each level. All tasks draw the same operands.

    Problems of the smallest levels may occur in both splits, since there are only 36 of level 2.
    """

    seed: int = 0
    """Seed of the problems; each split has its own random stream."""
    size: int = 2800
    """Number of training problems."""
    eval_size: int = 1050
    """Number of evaluation problems."""
    levels: tuple[int, ...] | None = None
    """Levels of the problems, from 2 to 16, in equal shares. Null: 2, 3, 4, 6, 8, 12 and 16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, float("inf"), "size", "eval_size")
        if self.levels is not None:
            lowest, highest = min(LEVELS), max(LEVELS)
            in_range = bool(self.levels) and lowest <= min(self.levels) and max(self.levels) <= highest
            require(in_range, "levels", f"must be numbers from {lowest} to {highest}, got {list(self.levels)}")

    @property
    @abstractmethod
    def task(self) -> Task:
        """The task that draws problems and writes solutions."""

    def read(self, split: Split) -> Loaded:
        """Return the problems of a split, with ids such as `mini-train-0`."""
        task, levels = self.task, self.levels or LEVELS
        # The seed does not contain the task, so that all tasks get the same operands.
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
    """Warn if a mini model is used with problems that are not from a generated task."""
    are_generated = all(isinstance(dataset, GeneratedSettings) for dataset in datasets)
    if model not in TASKS or are_generated:
        return []
    text = f"model={model} is set up for generated tasks, but the problems are not from one"
    hint = "for your own model use model=hf, and set max_new_tokens"
    return [Message("model", text, hint)]
