"""The base of JSONL files and Hub data sets: tables with one problem per row, some of which may be held out."""

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
    """A row of a source that has not been parsed yet."""

    where: str
    """Its location for messages: file and line, or data set, split and row."""
    default_id: str
    """Id of the problem if the row has none."""
    read: Callable[[], Mapping[str, object]]
    """Returns the fields of the row, or raises BadRowError."""


@dataclass(frozen=True)
class RowSettings(DatasetSettings):
    """A training set, an evaluation set, or both; each is a table with one problem per row."""

    path: str | None = None
    """The training problems: a file, or a repository on the Hub."""
    eval_path: str | None = None
    """The evaluation problems, if they are in another file or repository. Null: see `held_out`."""
    fields: Fields = field(default_factory=Fields)
    """Names of the fields of a row, the same for training and evaluation."""
    answer_from: str = "field"
    r"""How to extract the gold answer: field (the whole field), gsm8k (after `####`) or boxed (the last `\boxed{}`)."""
    held_out: int = 0
    """Without an evaluation set: number of training problems to hold out for it, chosen by a hash of their ids."""
    on_bad_row: str = "error"
    """error: stop at a row that cannot be used; skip: skip it and report it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, ANSWERS, "answer_from")
        require_option(self, ON_BAD_ROW, "on_bad_row")
        require_range(self, 0, float("inf"), "held_out")

    @property
    @abstractmethod
    def has_train_set(self) -> bool:
        """Whether there are training problems."""

    @property
    @abstractmethod
    def has_eval_set(self) -> bool:
        """Whether the evaluation problems have their own file or split."""

    @abstractmethod
    def read_set(self, split: Split) -> Loaded:
        """Return every problem of the training or evaluation set; called only if that set exists.

        Raises:
            DataError: if the set cannot be loaded.
        """

    @abstractmethod
    def count_rows(self, split: Split) -> int | None:
        """Return the number of rows in the training or evaluation set; None if unknown without loading it."""

    @abstractmethod
    def local_path(self, split: Split) -> Path | None:
        """Return the local file or folder of a split; None if it is on the Hub."""

    @property
    def reader(self) -> RowReader:
        return RowReader(self.name, self.fields, self.answer_from)

    def path_key(self, split: Split) -> str:
        """Return the key that names the file or repository of a split."""
        return "eval_path" if split == "eval" and self.eval_path is not None else "path"

    def read(self, split: Split) -> Loaded:
        """Return the problems of a split: its own set, or a part of the training set."""
        if split == "train" and not self.has_train_set:
            raise DataError(
                Message("dataset", f"{self.name} is for evaluation only", "choose another data set to train on")
            )
        if self.has_eval_set or (split == "train" and not self.held_out):
            return self.read_set(split)
        if not self.held_out:
            text = f"{self.name} has no evaluation set"
            hint = "set dataset.eval_path, or set dataset.held_out to a number of training problems"
            raise DataError(Message("dataset.held_out", text, hint))
        train, held = self._hold_out(self.read_set("train"))
        return train if split == "train" else held

    def size_of(self, split: Split) -> int | None:
        """Return None also if there is no such split; `read` raises then."""
        held_out = 0 if self.has_eval_set else self.held_out
        if split == "eval" and not self.has_eval_set:
            return held_out or None
        rows = self.count_rows(split)
        return rows - held_out if rows and rows > held_out else None

    def _hold_out(self, loaded: Loaded) -> tuple[Loaded, Loaded]:
        """Split the training set into the problems to train on and the held-out ones."""
        total = len(loaded.problems)
        if self.held_out >= total:
            text = f"holding out {self.held_out} of {total} problems leaves none to train on"
            raise DataError(Message("dataset.held_out", text, f"set it below {total}"))
        # Chosen by a hash of the ids, so that the same problems are held out in whatever order the rows come.
        by_hash = sorted(loaded.problems, key=lambda problem: derive_seed("held out", problem.id))
        chosen = {problem.id for problem in by_hash[: self.held_out]}
        rest: list[Problem] = []
        held: list[Problem] = []
        for problem in loaded.problems:
            part = held if problem.id in chosen else rest
            part.append(problem)
        return replace(loaded, problems=rest), replace(loaded, problems=held)


def read_problems(rows: Iterable[RawRow], settings: RowSettings, table: str) -> Loaded:
    """Return the problem of each row. `table` is the name of the file or split for messages.

    Raises:
        DataError: for a bad row, unless `settings.on_bad_row` is "skip"; if there are no problems; if no row has an
            optional field that was named explicitly, because its name is probably misspelled.
    """
    problems: list[Problem] = []
    skipped: list[str] = []
    first_use: dict[str, str] = {}  # problem id -> location of its row
    seen_fields: set[str] = set()
    for row in rows:
        try:
            values = row.read()
            seen_fields.update(values)
            problem = settings.reader.problem(values, row.default_id)
            if problem.id in first_use:
                raise BadRowError(f"id {problem.id!r} was already used in {first_use[problem.id]}")
        except BadRowError as error:
            if settings.on_bad_row == "error":
                hint = "fix the row, or set dataset.on_bad_row=skip to skip such rows"
                raise DataError(Message(row.where, str(error), hint)) from error
            skipped.append(f"{row.where}: {error}")
        else:
            first_use[problem.id] = row.where
            problems.append(problem)
    if not problems:
        first_error = f"first bad row: {skipped[0]}" if skipped else ""
        raise DataError(Message(table, "there are no problems in it", first_error))
    _check_field_names(settings.fields, seen_fields, table)
    return Loaded(problems, skipped)


def _check_field_names(fields: Fields, seen: set[str], table: str) -> None:
    """Raise if an optional field that the user named (its name is not the default) occurs in no row."""
    for role in ("id", "level", "solution"):
        name = getattr(fields, role)
        is_explicit = name not in (None, getattr(Fields(), role))
        if is_explicit and name not in seen:
            names = ", ".join(sorted(seen))
            text = f"no row of {table} has a field {name!r}"
            raise DataError(Message(f"dataset.fields.{role}", text, f"its fields are {names}"))
