"""What the settings of every source of problems have in common, and what loading gives back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from budgetrl.core.checks import require, require_count
from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Problem
from budgetrl.data.reading import RowReader
from budgetrl.metrics.keys import is_unambiguous

Split = Literal["train", "eval"]


class DataError(RequestError):
    """A data set cannot be read as asked; the message names the file and line, or the key to change."""


@dataclass(frozen=True)
class Loaded:
    """Problems, and what was left out on the way to them."""

    problems: list[Problem]
    skipped: list[str] = field(default_factory=list)
    """One message per row left out: where it stands, and why."""


@dataclass(frozen=True)
class DatasetSettings(ABC):
    """Which problems to train on, and which to evaluate on.

    A kind of source is a subclass, in a file of its own, with its settings as its fields. It has to say how its
    problems are read (`read`); the other methods tell what is known about them before that.
    """

    name: str = ""
    """Short name for run folders, tables and the keys of result.json."""
    source: str = ""
    """The kind of source: a module of `budgetrl.data.sources`, or the import path of a class of your own."""
    limit: int | None = None
    """Most training problems, the first ones of the source; null for all."""
    eval_limit: int | None = None
    """Most evaluation problems; null for all."""

    def __post_init__(self) -> None:
        require_count(self, "limit", "eval_limit")
        reads_as_part = f"{self.name!r} cannot be told from a part of a result's key, such as a level"
        require(is_unambiguous(self.name), "name", reads_as_part, "choose another name")

    @abstractmethod
    def read(self, split: Split) -> Loaded:
        """All problems of a split, always the same ones in the same order.

        Raises DataError if there is no such split, or if it cannot be read.
        """

    def load(self, split: Split) -> Loaded:
        """The problems of a split up to its limit. Raises DataError as `read` does."""
        loaded = self.read(split)
        return replace(loaded, problems=loaded.problems[: self._limit(split)])

    def size_of(self, split: Split) -> int | None:
        """How many problems `read` can give at most, without reading them; None where that is not known."""
        return None

    def count(self, split: Split, most: int | None = None) -> int | None:
        """How many problems a stage gets at most that asks for `most` of them; None where that is not known."""
        known = [count for count in (self.size_of(split), self._limit(split), most) if count is not None]
        return min(known, default=None)

    def missing(self, split: Split) -> list[Message]:
        """What is wrong with the local files that a split is read from. Keys are this group's own, such as `path`."""
        return []

    def rows_of_files(self, split: Split) -> dict[Path, int]:
        """The local files that a split is read from, where their rows can be counted, with the number of rows."""
        return {}

    def unpinned(self, split: Split) -> list[Message]:
        """What a split is read from that may change from one day to the next. Keys are this group's own."""
        return []

    @property
    def reader(self) -> RowReader:
        """How a row with a problem of this set is read, also one that another program has logged."""
        return RowReader(self.name)

    def _limit(self, split: Split) -> int | None:
        return self.limit if split == "train" else self.eval_limit
