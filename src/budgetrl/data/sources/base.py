"""The base class for the settings of a data source, and what loading returns."""

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
    """A data set cannot be loaded; the message names the file and line, or the key to change."""


@dataclass(frozen=True)
class Loaded:
    """The problems of a split, and the rows that were skipped."""

    problems: list[Problem]
    skipped: list[str] = field(default_factory=list)
    """One message per skipped row, with its location and the reason."""


@dataclass(frozen=True)
class DatasetSettings(ABC):
    """Settings of a data set: which problems to train on and which to evaluate on.

    A source is a subclass in a file of its own; its fields are its settings. Only `read` has to be implemented. The
    other methods tell what is known about the problems before they are read, and have defaults.
    """

    name: str = ""
    """Short name for run folders, tables and the keys of result.json."""
    source: str = ""
    """The kind of source: a module of `budgetrl.data.sources`, or the import path of a class of your own."""
    limit: int | None = None
    """Maximum number of training problems; the first ones are used. Null: all."""
    eval_limit: int | None = None
    """Maximum number of evaluation problems; the first ones are used. Null: all."""

    def __post_init__(self) -> None:
        require_count(self, "limit", "eval_limit")
        # Result keys such as `mini/level_3/accuracy` are parsed, so a data set must not be called `level_3`.
        text = f"{self.name!r} would be mistaken for another part of a result key, such as a level"
        require(is_unambiguous(self.name), "name", text, "choose another name")

    @abstractmethod
    def read(self, split: Split) -> Loaded:
        """Return all problems of a split. Every call must return the same problems in the same order.

        Raises:
            DataError: if the split does not exist or cannot be read.
        """

    def load(self, split: Split) -> Loaded:
        """Return the problems of a split up to its limit. Raises DataError as `read` does."""
        loaded = self.read(split)
        return replace(loaded, problems=loaded.problems[: self._limit(split)])

    def size_of(self, split: Split) -> int | None:
        """Return the maximum number of problems that `read` can return, without reading them; None if unknown."""
        return None

    def count(self, split: Split, most: int | None = None) -> int | None:
        """Return the maximum number of problems for a stage that wants at most `most`; None if unknown."""
        bounds = (self.size_of(split), self._limit(split), most)
        return min([bound for bound in bounds if bound is not None], default=None)

    def missing(self, split: Split) -> list[Message]:
        """Return errors about local files of a split that do not exist. Keys are relative to this group (`path`)."""
        return []

    def rows_of_files(self, split: Split) -> dict[Path, int]:
        """Return the number of rows in each local file of a split, as far as they can be counted."""
        return {}

    def unpinned(self, split: Split) -> list[Message]:
        """Return warnings about remote data that may change between runs. Keys are relative to this group."""
        return []

    @property
    def reader(self) -> RowReader:
        """The reader for rows of this data set, including rows logged by another harness."""
        return RowReader(self.name)

    def _limit(self, split: Split) -> int | None:
        return self.limit if split == "train" else self.eval_limit
