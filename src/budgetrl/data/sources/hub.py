"""`hub`: data sets on the Hugging Face Hub, or local folders in the same layout, loaded with the `datasets` library.

Tested with local folders only; downloads from the Hub were not tested.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from budgetrl.core.checks import require
from budgetrl.core.messages import Message
from budgetrl.data.sources.base import DataError, Loaded, Split
from budgetrl.data.sources.rows import RawRow, RowSettings, read_problems

if TYPE_CHECKING:
    from datasets import Dataset


KNOWN_ROWS = {
    ("openai/gsm8k", "train"): 7473,
    ("openai/gsm8k", "test"): 1319,
    ("DigitalLearningGmbH/MATH-lighteval", "train"): 7500,
    ("HuggingFaceH4/MATH-500", "test"): 500,
    ("HuggingFaceH4/aime_2024", "train"): 30,
    ("math-ai/aime25", "test"): 30,
    ("AI-MO/aimo-validation-amc", "train"): 83,
    ("Idavidrein/gpqa", "train"): 546,  # gpqa_extended, the largest; diamond has 198
    ("Hothan/OlympiadBench", "train"): 674,
    ("RUC-AIBOX/STILL-3-Preview-RL-Data", "train"): 30_000,  # about
}
"""Number of rows in the splits used by conf/dataset, so that planning needs no download."""


@dataclass(frozen=True)
class HubSettings(RowSettings):
    """One repository with a training split, an evaluation split or both, or one repository for each of them."""

    name: str = "hub"
    source: str = "hub"
    config_name: str | None = None
    """Configuration of `path`; null: its default."""
    revision: str | None = None
    """Commit of `path`; null: the newest."""
    split: str | None = None
    """The training split of `path`; null for a data set that is for evaluation only."""
    eval_revision: str | None = None
    """Commit of `eval_path`; null: the newest."""
    eval_split: str | None = None
    """The evaluation split of `eval_path`, or of `path` if that is null. Null: see `held_out`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = "set dataset.path, for example to openai/gsm8k"
        require(self.path is not None, "path", "source=hub needs the name of a data set", hint)
        has_split = self.split is not None or self.eval_split is not None
        require(has_split, "split", "source=hub needs a split", "set dataset.split or dataset.eval_split")
        if self.eval_path is not None:
            require(self.eval_split is not None, "eval_split", "must be set to a split of eval_path, such as test")
        else:
            text = "must be null without eval_path; revision applies to both splits"
            require(self.eval_revision is None, "eval_revision", text)

    @property
    def has_train_set(self) -> bool:
        return self.split is not None

    @property
    def has_eval_set(self) -> bool:
        return self.eval_split is not None

    def repository(self, split: Split) -> str:
        """Return the repository or local folder of a split."""
        return str(getattr(self, self.path_key(split)))

    def local_path(self, split: Split) -> Path | None:
        path = self.repository(split)
        # `openai/gsm8k` could also be a relative path; a local folder must start with one of these characters.
        return Path(path).expanduser() if path.startswith(("/", ".", "~")) else None

    def missing(self, split: Split) -> list[Message]:
        folder = self.local_path(split)
        if folder is None or folder.is_dir():
            return []
        return [Message(self.path_key(split), f"there is no folder {folder}")]

    def unpinned(self, split: Split) -> list[Message]:
        if self.local_path(split) is not None:
            return []
        key = "eval_revision" if self.path_key(split) == "eval_path" else "revision"
        return pin_warnings(key, self.name, getattr(self, key))

    def count_rows(self, split: Split) -> int | None:
        return KNOWN_ROWS.get((self.repository(split), str(self._hub_split(split))))

    def read_set(self, split: Split) -> Loaded:
        import datasets  # slow to import, and only this source needs it

        path, hub_split = self.repository(split), self._hub_split(split)
        assert hub_split is not None  # the caller has checked has_train_set or has_eval_set
        # config_name and revision belong to `path`; a separate evaluation repository has its own revision.
        is_eval_path = self.path_key(split) == "eval_path"
        config = None if is_eval_path else self.config_name
        revision = self.eval_revision if is_eval_path else self.revision
        try:
            table = datasets.load_dataset(path, config, split=hub_split, revision=revision)
        except (OSError, ValueError) as error:  # not found, offline, or no such configuration or split
            where = f"{path} (configuration {config}, split {hub_split}, revision {revision})"
            text = f"cannot load {where}: {error}"
            raise DataError(Message(f"dataset.{self.path_key(split)}", text)) from error
        assert isinstance(table, datasets.Dataset)
        return read_problems(_raw_rows(table, path, hub_split), self, f"{path}[{hub_split}]")

    def _hub_split(self, split: Split) -> str | None:
        return self.split if split == "train" else self.eval_split


def pin_warnings(key: str, name: str, revision: str | None) -> list[Message]:
    """Warn about a model or data set on the Hub that is not pinned to a commit, and so may change between runs."""
    if re.fullmatch(r"[0-9a-f]{40}", revision or ""):  # a full commit hash; branches and tags can move
        return []
    version = f"at {revision}" if revision else "at its newest version"
    return [Message(key, f"{name} is loaded {version}, which may change", "pin a commit")]


def _raw_rows(table: "Dataset", path: str, split: str) -> Iterator[RawRow]:
    stem = path.rstrip("/").rpartition("/")[2]
    for number, row in enumerate(table):
        fields = partial(dict, row)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield RawRow(f"{path}[{split}] row {number}", f"{stem}-{split}-{number}", fields)
