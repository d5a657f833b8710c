"""Run folders as reports read them. Files that are missing count as empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from budgetrl.core.messages import Message
from budgetrl.metrics.results import Results
from budgetrl.runs.folder import HASHES, Row, RunFolder, read_rows
from budgetrl.runs.parts import GRPO, TRAINED

PIPELINE = "pipeline"
"""The stage whose results come from two evaluations, of the initial and of the trained model."""
NOT_MEASURED = ("report", "export", "draw_reward")
"""Stages that do not evaluate a model."""
_EVALUATION_FILES = ("result.json", "completions.jsonl", HASHES)
"""Files of a finished evaluation, whether it is a run of its own or a part of a pipeline."""


@dataclass(frozen=True)
class Run:
    """The contents of a run folder."""

    path: Path
    config: Mapping[str, Any]
    result: Results
    metrics: Sequence[Row]
    """Rows of metrics.jsonl, one for each training step."""
    completions: Sequence[Row]
    written_to: Path | None = None
    """Folder for the report and its figures; None: the run's own folder."""

    @property
    def out(self) -> Path:
        """The folder for the report and its figures."""
        return self.written_to or self.path

    @property
    def stage(self) -> str:
        """The stage's name; empty if there is no configuration."""
        return _stage_name(self.config)

    @property
    def evaluation(self) -> str:
        """The name of the final evaluation in the result keys: "trained" for a pipeline, empty for other runs."""
        return TRAINED if self.stage == PIPELINE else ""

    @property
    def is_part(self) -> bool:
        """Whether the folder is inside that of another run, such as a pipeline."""
        return RunFolder(self.path.parent, writes=False).config.exists()

    def datasets(self) -> list[str]:
        """Return the data sets of the final evaluation."""
        return self.result.datasets(self.evaluation)

    def results_by_dataset(self) -> dict[str, Results]:
        """Return the numbers outside of a pipeline's two evaluations, for each data set."""
        return {dataset: self.result.of(dataset) for dataset in self.datasets()}

    def final(self, dataset: str) -> Results:
        """Return the numbers of the final evaluation; for a pipeline also the changes from the initial model."""
        # The changes, such as "mini/compression", have no evaluation in their key.
        return self.result.of(dataset) | self.result.of(dataset, self.evaluation)

    def free(self, dataset: str) -> list[Row]:
        """Return the completions of a data set for which the model chose its own budget."""
        return self._completions(dataset, prefilled=False)

    def controlled(self, dataset: str) -> list[Row]:
        """Return the completions of a data set that began with a pre-filled budget."""
        return self._completions(dataset, prefilled=True)

    def _completions(self, dataset: str, prefilled: bool) -> list[Row]:
        rows: list[Row] = []
        for row in self.completions:
            # Rows of training completions name no data set; they count for any.
            is_on_dataset = row.get("dataset", dataset) == dataset
            is_prefilled = row.get("prefilled") is not None
            if is_on_dataset and is_prefilled == prefilled:
                rows.append(row)
        return rows


def read_run(path: Path, result: Mapping[str, float] | None = None) -> Run:
    """Read a run folder. `result` replaces a result.json that is not written yet.

    Raises:
        RequestError: A row is not JSON; the message names the file and the line.
    """
    folder = RunFolder(path, writes=False)
    if result is None:
        result = folder.read_result() if folder.finished else {}
    return Run(
        path=path,
        config=read_configuration(path),
        result=Results.parse(result),
        metrics=read_rows(folder.metrics) if folder.metrics.exists() else [],
        completions=read_rows(folder.completions) if folder.completions.exists() else [],
    )


def read_stage(path: Path) -> str:
    """Return the name of a run folder's stage without reading results; empty if there is no configuration."""
    return _stage_name(read_configuration(path))


def _stage_name(config: Mapping[str, Any]) -> str:
    return str(config.get("stage", {}).get("name", ""))


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the configuration of a run folder as nested dictionaries; empty if there is none.

    For a regraded evaluation it is the configuration of the original evaluation.
    """
    folder = RunFolder(path, writes=False)
    file = folder.evaluation if folder.evaluation.exists() else folder.config
    if not file.exists():
        return {}
    # Not yaml.safe_load, which reads 1e-5 as a string.
    return OmegaConf.to_container(OmegaConf.load(file), resolve=True)  # pyright: ignore[reportReturnType]


def finished_runs(pattern: str) -> list[Path]:
    """Return the finished runs, sorted by name, in a run folder, a folder of run folders, or a glob of either.

    Runs of stages that do not evaluate a model, such as reports, are left out.
    """
    folders: list[Path] = []
    for match in sorted(glob(pattern)):
        path = Path(match)
        is_run = RunFolder(path, writes=False).config.exists()
        for folder in [path] if is_run else sorted(path.glob("*/")):
            if RunFolder(folder, writes=False).finished and read_stage(folder) not in NOT_MEASURED:
                folders.append(folder)
    return folders


def evaluation_errors(key: str, folder: Path) -> list[Message]:
    """Return why the folder named by `key` does not hold a finished evaluation: one message, or none if it does."""
    hint = "name the folder of a finished stage=evaluate, or initial or trained inside that of a pipeline"
    for name in _EVALUATION_FILES:
        if not (folder / name).exists():
            return [Message(key, f"there is no {folder / name}", hint)]
    # GRPO writes files with the same names, but its completions are those of training.
    if read_stage(folder) == GRPO:
        return [Message(key, f"{folder} holds a run of stage=grpo", hint)]
    return []
