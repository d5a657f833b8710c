"""`jsonl`: files with one JSON object per line, in UTF-8. Empty lines are ignored."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from budgetrl.core.checks import require
from budgetrl.core.jsonl import NotAnObjectError, count_lines, line_location, numbered_lines, parse_object
from budgetrl.core.messages import Message
from budgetrl.data.reading import BadRowError
from budgetrl.data.sources.base import DataError, Loaded, Split
from budgetrl.data.sources.rows import RawRow, RowSettings, read_problems


@dataclass(frozen=True)
class JsonlSettings(RowSettings):
    """The files `path` (training) and `eval_path` (evaluation).

    Without `path` the data set is for evaluation only. Without `eval_path`, `held_out` training problems are used.
    """

    name: str = "jsonl"
    source: str = "jsonl"

    def __post_init__(self) -> None:
        super().__post_init__()
        has_file = self.path is not None or self.eval_path is not None
        require(has_file, "path", "source=jsonl needs a file", "set dataset.path=<file.jsonl>")

    @property
    def has_train_set(self) -> bool:
        return self.path is not None

    @property
    def has_eval_set(self) -> bool:
        return self.eval_path is not None

    def local_path(self, split: Split) -> Path | None:
        path = getattr(self, self.path_key(split))
        return None if path is None else Path(path).expanduser()

    def missing(self, split: Split) -> list[Message]:
        file = self.local_path(split)
        if file is None or file.is_file():
            return []
        return [Message(self.path_key(split), f"there is no file {file}")]

    def read_set(self, split: Split) -> Loaded:
        file = self.local_path(split)
        assert file is not None  # the caller has checked has_train_set or has_eval_set
        if missing := self.missing(split):
            raise DataError(missing[0].below("dataset"))
        return read_problems(_raw_rows(file), self, str(file))

    def count_rows(self, split: Split) -> int | None:
        return next(iter(self.rows_of_files(split).values()), None)

    def rows_of_files(self, split: Split) -> dict[Path, int]:
        file = self.local_path(split)
        return {file: count_lines(file)} if file is not None and file.is_file() else {}


def _raw_rows(file: Path) -> Iterator[RawRow]:
    # A line is parsed only when the row is read, so that a malformed line is handled like any other bad row.
    for number, line in numbered_lines(file):
        yield RawRow(line_location(file, number), f"{file.stem}-{number}", partial(_parse, line))


def _parse(line: bytes) -> dict[str, object]:
    try:
        return parse_object(line)
    except NotAnObjectError as error:
        raise BadRowError(str(error)) from error
