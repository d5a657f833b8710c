"""A run folder as a report sees it: whatever is there, and nothing else."""

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
"""The stage whose results are those of two evaluations."""
NOT_MEASURED = ("report", "export", "draw_reward")
"""Stages whose folders hold no numbers of a model."""
_EVALUATION = ("result.json", "completions.jsonl", HASHES)
"""What a finished evaluation leaves, by itself or as the part of a pipeline."""


@dataclass(frozen=True)
class Run:
    """What one run left in its folder."""

    path: Path
    config: Mapping[str, Any]
    result: Results
    metrics: Sequence[Row]
    """The rows of metrics.jsonl, one for each step."""
    completions: Sequence[Row]
    written_to: Path | None = None
    """Where its report goes, with the figures; None: into the run's own folder."""

    @property
    def out(self) -> Path:
        """The folder of the report."""
        return self.written_to or self.path

    @property
    def stage(self) -> str:
        """The stage's name; empty where there is no configuration."""
        return str(self.config.get("stage", {}).get("name", ""))

    @property
    def evaluation(self) -> str:
        """Which of its evaluations it is judged by: a pipeline's is that of its trained model."""
        return TRAINED if self.stage == PIPELINE else ""

    @property
    def is_part(self) -> bool:
        """Whether it is a part of another run, in whose folder it lies."""
        return RunFolder(self.path.parent, writes=False).config.exists()

    def datasets(self) -> list[str]:
        """The data sets that it was measured on; for a pipeline, those of its trained model."""
        return self.result.datasets(self.evaluation)

    def final(self, dataset: str) -> Results:
        """The numbers that it is judged by; for a pipeline also what changed against the initial model."""
        return self.result.of(dataset) | self.result.of(dataset, self.evaluation)

    def free(self, dataset: str) -> list[Row]:
        """Completions on a data set in which the model chose the budget."""
        return [row for row in self._on(dataset) if row.get("prefilled") is None]

    def controlled(self, dataset: str) -> list[Row]:
        """Completions on a data set that began with the user's budget."""
        return [row for row in self._on(dataset) if row.get("prefilled") is not None]

    def _on(self, dataset: str) -> list[Row]:
        return [row for row in self.completions if row.get("dataset", dataset) == dataset]


def read_run(path: Path, result: Mapping[str, float] | None = None) -> Run:
    """Read a run folder; what is missing is empty. `result` stands in for a result.json not written yet.

    Raises RequestError, naming file and line, for a row that is not JSON.
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
    """The name of a run folder's stage, without reading the rest; empty where there is no configuration."""
    return str(read_configuration(path).get("stage", {}).get("name", ""))


def read_configuration(path: Path) -> dict[str, Any]:
    """The configuration of a run folder; empty where there is none. A regraded evaluation has that of the first."""
    folder = RunFolder(path, writes=False)
    return _load(folder.evaluation if folder.evaluation.exists() else folder.config)


def _load(path: Path) -> dict[str, Any]:
    """Plain dictionaries. Not read with PyYAML alone, for which 1e-5 is a string."""
    if not path.exists():
        return {}
    return OmegaConf.to_container(OmegaConf.load(path), resolve=True)  # pyright: ignore[reportReturnType]


def finished_runs(pattern: str) -> list[Path]:
    """The finished runs that a folder, a folder of folders or a glob stands for, by name; reports are left out."""
    folders: list[Path] = []
    for found in sorted(glob(pattern)):
        path = Path(found)
        inside = [path] if _is_run(path) else sorted(path.glob("*/"))
        folders += [folder for folder in inside if _is_result(folder)]
    return folders


def _is_run(path: Path) -> bool:
    return RunFolder(path, writes=False).config.exists()


def _is_result(path: Path) -> bool:
    return RunFolder(path, writes=False).finished and read_stage(path) not in NOT_MEASURED


def evaluation_errors(key: str, folder: Path) -> list[Message]:
    """Why a folder, which `key` names, does not hold a finished evaluation: one message, or none."""
    missing = [folder / name for name in _EVALUATION if not (folder / name).exists()]
    hint = "name the folder of a finished stage=evaluate, or initial or trained inside that of a pipeline"
    if missing:
        return [Message(key, f"there is no {missing[0]}", hint)]
    if read_stage(folder) == GRPO:  # leaves files of the same names, of its completions in training
        return [Message(key, f"{folder} holds a run of stage=grpo", hint)]
    return []
