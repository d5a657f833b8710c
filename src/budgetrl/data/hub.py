"""Problems from a Hugging Face data set, through the `datasets` library.

Tested with local folders in the same layout; downloads from the Hub itself were not run.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from budgetrl.data.rows import Row, collect
from budgetrl.data.spec import DataError, DatasetSettings, Loaded, Split

if TYPE_CHECKING:
    from datasets import Dataset


ROWS = {
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
"""Rows of the splits that options under conf/dataset name, so that a plan needs no download."""


def rows_of(spec: DatasetSettings, split: Split) -> int | None:
    """How many rows a split has as far as that is known without loading it."""
    if split == "train":
        return ROWS.get((str(spec.path), str(spec.split)))
    return ROWS.get((str(spec.eval_path or spec.path), str(spec.eval_split)))


def load(spec: DatasetSettings, split: Split) -> Loaded:
    """Read the training or the evaluation split. Raises DataError if it cannot be had, or for a bad row."""
    if split == "eval" and spec.eval_path is not None:
        return _load(spec, "eval_path", spec.eval_path, None, spec.eval_revision, spec.eval_split)
    hub_split = spec.eval_split if split == "eval" else spec.split
    return _load(spec, "path", spec.path, spec.config_name, spec.revision, hub_split)


def _load(
    spec: DatasetSettings, key: str, path: str | None, config: str | None, revision: str | None, split: str | None
) -> Loaded:
    import datasets  # slow, and the other sources do without it

    assert path is not None  # DatasetSettings has checked both
    assert split is not None
    try:
        rows = datasets.load_dataset(path, config, split=split, revision=revision)
    except (OSError, ValueError) as error:  # not found, offline, no such configuration or split
        where = f"{path} (configuration {config}, split {split}, revision {revision})"
        raise DataError(f"dataset.{key}: cannot load {where}: {error}") from error
    assert isinstance(rows, datasets.Dataset)
    return collect(_rows(rows, path, split), spec, f"{path}[{split}]")


def _rows(rows: "Dataset", path: str, split: str) -> Iterator[Row]:
    stem = path.rstrip("/").rpartition("/")[2]
    for number, row in enumerate(rows):
        yield Row(f"{path}[{split}] row {number}", f"{stem}-{split}-{number}", partial(dict, row))  # pyright: ignore[reportCallIssue, reportArgumentType]
