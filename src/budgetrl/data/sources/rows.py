"""What JSONL files and Hub data sets have in common: problems are rows, and some may be held out for evaluation."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.reading import ANSWERS, BadRowError, Fields, RowReader
from budgetrl.data.sources.base import DataError, DatasetSettings, Loaded, Split

ON_BAD_ROW = ("error", "skip")


@dataclass(frozen=True)
class RawRow:
    """A row of a source before it is read."""

    where: str
    """File and line, or data set, split and row."""
    default_id: str
    read: Callable[[], Mapping[str, object]]
    """Gives the row's fields; raises BadRowError."""


@dataclass(frozen=True)
class RowSettings(DatasetSettings):
    """A training set, an evaluation set, or both; each is a table with a problem a row."""

    path: str | None = None
    """Where the training problems are: a file, or a repository of the Hub."""
    eval_path: str | None = None
    """Where the evaluation problems are, if that is a place of its own. Null: see `held_out`."""
    fields: Fields = field(default_factory=Fields)
    """Names of the fields of a row, in the training and the evaluation set alike."""
    answer_from: str = "field"
    r"""field: as it is; gsm8k: it ends in `#### 72`; boxed: it holds `\boxed{72}` (the last counts)."""
    held_out: int = 0
    """Where there is no evaluation set: training problems kept back for it, chosen by a hash of their ids."""
    on_bad_row: str = "error"
    """error: stop at a row that cannot be used; skip: leave it out, and report it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, ANSWERS, "answer_from")
        require_option(self, ON_BAD_ROW, "on_bad_row")
        require_range(self, 0, float("inf"), "held_out")

    @property
    @abstractmethod
    def has_train_set(self) -> bool:
        """Whether there is anything to train on."""

    @property
    @abstractmethod
    def has_eval_set(self) -> bool:
        """Whether the evaluation problems have a file or split of their own."""

    @abstractmethod
    def read_set(self, split: Split) -> Loaded:
        """Every problem of the training or the evaluation set, which is there. Raises DataError."""

    @abstractmethod
    def count_rows(self, split: Split) -> int | None:
        """How many rows the training or the evaluation set has, as far as that is known without loading it."""

    @abstractmethod
    def local_path(self, split: Split) -> Path | None:
        """The file or folder on this machine that a split is read from; None for one that may be on the Hub."""

    @property
    def reader(self) -> RowReader:
        return RowReader(self.name, self.fields, self.answer_from)

    def path_key(self, split: Split) -> str:
        """The key that says where the problems of a split come from."""
        return "eval_path" if split == "eval" and self.eval_path is not None else "path"

    def read(self, split: Split) -> Loaded:
        """A set of its own, or one part of the training set."""
        if split == "train" and not self.has_train_set:
            raise DataError(Message("dataset", f"{self.name} is for evaluation only", "train on another one"))
        if self.has_eval_set or (split == "train" and not self.held_out):
            return self.read_set(split)
        if not self.held_out:
            text = f"{self.name} has no evaluation set"
            hint = "set dataset.eval_path, or dataset.held_out to the number of training problems to keep back"
            raise DataError(Message("dataset.held_out", text, hint))
        train, held = self._hold_out(self.read_set("train"))
        return train if split == "train" else held

    def size_of(self, split: Split) -> int | None:
        """None also where there is no such split, which loading refuses."""
        kept_back = 0 if self.has_eval_set else self.held_out
        if split == "eval" and not self.has_eval_set:
            return kept_back or None
        rows = self.count_rows(split)
        return rows - kept_back if rows and rows > kept_back else None

    def _hold_out(self, loaded: Loaded) -> tuple[Loaded, Loaded]:
        """Split off `held_out` problems by a hash of their ids: the same ones whatever order the rows have."""
        there = len(loaded.problems)
        if self.held_out >= there:
            text = f"{self.held_out} of only {there} problems would leave none to train on"
            raise DataError(Message("dataset.held_out", text, f"set it below {there}"))
        by_hash = sorted(loaded.problems, key=lambda problem: derive_seed("held out", problem.id))
        chosen = {problem.id for problem in by_hash[: self.held_out]}
        rest: list[Problem] = []
        held: list[Problem] = []
        for problem in loaded.problems:
            (held if problem.id in chosen else rest).append(problem)
        return replace(loaded, problems=rest), replace(loaded, problems=held)


def read_problems(rows: Iterable[RawRow], settings: RowSettings, table: str) -> Loaded:
    """The problem of each row of a table; bad rows raise DataError or are skipped, as `settings.on_bad_row` says.

    Raises DataError also if no problem is left, or if an optional field that was named on purpose
    is in no row: most likely its name is misspelled.
    """
    problems: list[Problem] = []
    skipped: list[str] = []
    first_use: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        try:
            values = row.read()
            seen.update(values)
            problem = settings.reader.problem(values, row.default_id)
            if problem.id in first_use:
                raise BadRowError(f"id {problem.id!r} is already that of {first_use[problem.id]}")
        except BadRowError as error:
            if settings.on_bad_row == "error":
                hint = "fix the row, or set dataset.on_bad_row=skip to leave such rows out"
                raise DataError(Message(row.where, str(error), hint)) from error
            skipped.append(f"{row.where}: {error}")
        else:
            first_use[problem.id] = row.where
            problems.append(problem)
    if not problems:
        raise DataError(f"{table}: no problem in it{f'; first bad row: {skipped[0]}' if skipped else ''}")
    _check_names(settings.fields, seen, table)
    return Loaded(problems, skipped)


def _check_names(fields: Fields, seen: set[str], table: str) -> None:
    """Optional fields may be absent, but not one that the user has named."""
    for role in ("id", "level", "solution"):
        name = getattr(fields, role)
        is_named_on_purpose = name not in (None, getattr(Fields(), role))
        if is_named_on_purpose and name not in seen:
            names = ", ".join(sorted(seen))
            raise DataError(f"dataset.fields.{role}: no row of {table} has {name!r}; its fields are {names}")
