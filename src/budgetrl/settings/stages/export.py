"""`export`: write the completions of evaluations in the log format of lm-evaluation-harness."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.report.reading import finished_runs
from budgetrl.settings.stages.base import StageSettings
from budgetrl.settings.stages.report import missing_runs

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Export(StageSettings):
    """Write one folder per evaluated model, with one lm-evaluation-harness samples file for each pass."""

    name: str = "export"
    runs: str = "runs/*"
    """Evaluations or pipelines to export, selected as in stage=report."""

    executor: ClassVar[str] = "budgetrl.stages.export"
    reported: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def workload(self, config: "Config") -> Workload:
        return Workload({"run folders": len(self.folders())})

    def errors(self, config: "Config") -> list[Message]:
        return missing_runs(self.runs, self.folders())

    def folders(self) -> list[Path]:
        """Return the folders of the finished runs that `runs` selects, sorted by name."""
        return finished_runs(self.runs)
