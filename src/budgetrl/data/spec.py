"""The `dataset` group, and what loading gives back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.records import Problem
from budgetrl.data.mini.tasks import TASKS

Split = Literal["train", "eval"]

SOURCES = (*TASKS, "jsonl", "hub")
ANSWERS = ("field", "gsm8k", "boxed")
ON_BAD_ROW = ("error", "skip")


class DataError(RequestError):
    """A data set cannot be read as asked; the message names the file and line, or the key to change."""


@dataclass(frozen=True)
class Fields:
    """Under which names a row holds what is needed."""

    id: str | None = "id"
    """Unique name of the problem; null, or rows without it: made from file or set name and row number."""
    problem: str = "problem"
    """The question's text."""
    answer: str = "answer"
    """What holds the gold answer; `answer_from` says how it is cut out. Numbers are taken as text, a list as
    its texts with commas between."""
    level: str | None = "level"
    """Difficulty, a number or a text with one ("Level 3"), rounded; null or absent: no levels."""
    solution: str | None = "solution"
    """A worked solution; null or absent: none."""
    wrong_answers: tuple[str, ...] = ()
    """Multiple choice: the fields with the wrong choices. Choices are lettered in an order made from the id."""


@dataclass(frozen=True)
class DatasetSettings:
    """Which problems to train on, and which to evaluate on."""

    name: str = "mini"
    """Short name for run folders, tables and the keys of result.json."""
    source: str = "mini"
    """mini, mini_tradeoff (generated tasks), jsonl (files) or hub (a Hub data set, or a folder laid out as one)."""
    path: str | None = None
    """jsonl: the training file; hub: the repository. Null for a JSONL set that is for evaluation only."""
    eval_path: str | None = None
    """jsonl: the evaluation file; hub: a repository of its own for evaluation. Null: see `held_out`."""
    config_name: str | None = None
    """hub: configuration of `path`; null takes its default one."""
    revision: str | None = None
    """hub: commit of `path`; null takes the newest."""
    eval_revision: str | None = None
    """hub: commit of `eval_path`."""
    split: str | None = None
    """hub: the training split of `path`; null for a set that is for evaluation only."""
    eval_split: str | None = None
    """hub: the evaluation split, of `eval_path` if there is one, else of `path`. Null: see `held_out`."""
    fields: Fields = field(default_factory=Fields)
    """Names of the fields of a row, in the training and the evaluation set alike."""
    answer_from: str = "field"
    r"""field: as it is; gsm8k: it ends in `#### 72`; boxed: it holds `\boxed{72}` (the last counts)."""
    limit: int | None = None
    """Most training problems, the first ones of the source; null for all."""
    eval_limit: int | None = None
    """Most evaluation problems; null for all."""
    held_out: int = 0
    """Where there is no evaluation set: training problems kept back for it, chosen by a hash of their ids."""
    on_bad_row: str = "error"
    """error: stop at a row that cannot be used; skip: leave it out, and report it."""
    seed: int = 0
    """Generated tasks: seed of the generated problems."""
    size: int = 2800
    """Generated tasks: training problems."""
    eval_size: int = 1050
    """Generated tasks: evaluation problems."""
    levels: tuple[int, ...] | None = None
    """Generated tasks: levels of the problems in equal shares, each from 2 to 16; null for 2, 3, 4, 6, 8, 12 and 16."""

    def __post_init__(self) -> None:
        _one_of("source", self.source, SOURCES)
        _one_of("answer_from", self.answer_from, ANSWERS)
        _one_of("on_bad_row", self.on_bad_row, ON_BAD_ROW)
        for key in ("limit", "eval_limit", "size", "eval_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise SettingError(key, f"must be at least 1, got {value}")
        if self.levels is not None and (not self.levels or not all(2 <= level <= 16 for level in self.levels)):
            raise SettingError("levels", f"must be numbers from 2 to 16, got {list(self.levels)}")
        if self.held_out < 0:
            raise SettingError("held_out", f"must not be negative, got {self.held_out}")
        if self.source == "jsonl":
            self._check_jsonl()
        if self.source == "hub":
            self._check_hub()

    @property
    def has_train_set(self) -> bool:
        """Whether there is anything to train on."""
        return self.source in TASKS or (self.path if self.source == "jsonl" else self.split) is not None

    @property
    def has_eval_set(self) -> bool:
        """Whether evaluation problems come from a file or split of their own."""
        return self.eval_path is not None or self.eval_split is not None

    def source_key(self, split: Split) -> str:
        """The field that names where the problems of a split come from: `path` or `eval_path`."""
        return "eval_path" if split == "eval" and self.eval_path is not None else "path"

    def local_file(self, split: Split) -> Path | None:
        """The file or folder on this machine that a split is read from; None for one that may be on the Hub."""
        source = getattr(self, self.source_key(split))
        if self.source in TASKS or source is None:
            return None
        is_local = self.source == "jsonl" or source.startswith(("/", ".", "~"))
        return Path(source).expanduser() if is_local else None

    def _check_jsonl(self) -> None:
        if self.path is None and self.eval_path is None:
            raise SettingError("path", "source=jsonl needs a file: set dataset.path=<file.jsonl>")
        for key in ("config_name", "revision", "eval_revision", "split", "eval_split"):
            if getattr(self, key) is not None:
                raise SettingError(key, "is for source=hub; must be null for source=jsonl")

    def _check_hub(self) -> None:
        if self.path is None:
            raise SettingError("path", "source=hub needs the name of a data set, such as openai/gsm8k")
        if self.split is None and self.eval_split is None:
            raise SettingError("split", "source=hub needs a split: set dataset.split or dataset.eval_split")
        if self.eval_path is not None and self.eval_split is None:
            raise SettingError("eval_split", "must name a split of eval_path, such as test")
        if self.eval_revision is not None and self.eval_path is None:
            raise SettingError("eval_revision", "must be null without eval_path; revision holds for both splits")


@dataclass(frozen=True)
class Loaded:
    """Problems, and what was left out on the way to them."""

    problems: list[Problem]
    skipped: list[str] = field(default_factory=list)
    """One message per row left out: where it stands, and why."""


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(key, f"must be one of {', '.join(choices)}, got {value!r}")
