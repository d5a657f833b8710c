"""A run folder as a report sees it: whatever is there, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from budgetrl.runs.folder import RunFolder, read_rows

Row = Mapping[str, Any]
EVALUATIONS = ("initial", "trained")
"""The parts of a pipeline that are evaluations, each in a folder of its own inside the pipeline's."""
NOISE = 1e-7
"""What is smaller than this comes of floating point: lengths that are all alike may have an error of 1e-17."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (None where there is none)."""

    value: float
    error: float | None = None

    @property
    def stated(self) -> float | None:
        """The error to show. None where it is 0: what was drawn was all alike, and that is no certainty."""
        return self.error if self.error and self.error > NOISE else None


@dataclass(frozen=True)
class Results:
    """Flat final numbers, such as those of `result.json`."""

    numbers: Mapping[str, float | None]

    def get(self, key: str) -> Estimate | None:
        """The estimate under a key; None where it is absent or has no value."""
        value = self.numbers.get(key)
        return None if value is None else Estimate(value, self.numbers.get(f"{key}_se"))

    def interval(self, key: str) -> tuple[float, float] | None:
        """The ends of the 95 % interval of a change, where it has one."""
        low, high = (self.numbers.get(f"{key}_{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)

    def below(self, prefix: str) -> "Results":
        """The numbers under `prefix/`, the prefix taken off."""
        start = f"{prefix}/"
        return Results({k.removeprefix(start): v for k, v in self.numbers.items() if k.startswith(start)})

    def datasets(self) -> list[str]:
        """Names of the evaluated data sets, in order, without their parts such as levels.

        A pipeline has them below `initial` and `trained`.
        """
        names = [key.removesuffix("/accuracy") for key in self.numbers if key.endswith("/accuracy")]
        parts = {name for name in names if any(name.startswith(f"{other}/") for other in names)}
        return [name for name in names if name not in parts]

    def levels(self) -> list[int]:
        """Difficulty levels with numbers of their own, ascending. For the numbers of one data set."""
        return self._numbered("level_")

    def cutoffs(self) -> list[int]:
        """Cut-offs with numbers of their own, ascending. For the numbers of one data set."""
        return self._numbered("cutoff_")

    def budgets(self) -> list[int]:
        """Given budgets with numbers of their own, ascending. For the numbers of one data set."""
        return self._numbered("budget_")

    def samples(self) -> int:
        """The most samples of a problem that pass@k is known for; 1 where it is for none."""
        return max(self._numbered("pass_at_"), default=1)

    def _numbered(self, start: str) -> list[int]:
        """The numbers of all keys, or of the folders of keys, that begin so."""
        names = {key.split("/")[0].removeprefix(start) for key in self.numbers if key.startswith(start)}
        return sorted(int(name) for name in names if name.isdecimal())


@dataclass(frozen=True)
class Run:
    """What one run left in its folder."""

    path: Path
    config: Mapping[str, Any]
    result: Results
    metrics: Sequence[Row]
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
    def in_pipeline(self) -> bool:
        """Whether it is a part of a pipeline, in whose folder it lies."""
        return read_stage(self.path.parent) == "pipeline"

    def datasets(self) -> list[str]:
        """What it was measured on; of a pipeline, what its trained model was."""
        return (self.result.below("trained") if self.stage == "pipeline" else self.result).datasets()

    def final(self, dataset: str) -> Results:
        """What it is judged by: a pipeline's trained model, and what that changed against the initial one."""
        if self.stage != "pipeline":
            return self.result.below(dataset)
        changes, trained = self.result.below(dataset), self.result.below(f"trained/{dataset}")
        return Results({**changes.numbers, **trained.numbers})

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
        result = json.loads(folder.result.read_text()) if folder.result.exists() else {}
    return Run(
        path=path,
        config=read_configuration(path),
        result=Results(result or {}),
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


NOT_MEASURED = ("report", "export", "draw_reward")
"""Stages whose folders hold no numbers of a model."""
