"""`report`: write tables and figures from run folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.report.reading import finished_runs
from budgetrl.settings.stages.base import StageSettings

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Report(StageSettings):
    """Write tables and figures from existing run folders. Nothing is run again."""

    name: str = "report"
    runs: str = "runs/*"
    """Run folders to report on: a run folder, a folder of run folders such as a sweep's, `initial` or `trained` in the
    folder of a pipeline, or a glob of these. Unfinished runs are left out."""
    by: tuple[str, ...] = ()
    """Config keys that several runs are grouped by, with one table row per combination of values. Runs that agree in
    these keys, such as those with different seeds, are averaged. Empty: all keys that differ, except the seed.
    `folder`: the folder name without -s<seed>."""
    paper: str | None = None
    """CSV file with a paper's numbers to show below ours, with columns model,dataset,metric,value,certainty."""

    executor: ClassVar[str] = "budgetrl.stages.report"
    reported: ClassVar[bool] = False  # the stage writes report.md itself
    always_runs: ClassVar[bool] = True  # more runs may have finished since

    def workload(self, config: "Config") -> Workload:
        return Workload({"run folders": len(self.folders())})

    def errors(self, config: "Config") -> list[Message]:
        return missing_runs(self.runs, self.folders())

    def folders(self) -> list[Path]:
        """Return the folders of the finished runs that `runs` selects, sorted by name and without reports."""
        return finished_runs(self.runs)


def missing_runs(runs: str, folders: list[Path]) -> list[Message]:
    """Return an error if `stage.runs` selects no finished run."""
    if folders:
        return []
    text = f"there is no finished run in {runs!r}"
    hint = "give a run folder, a folder of run folders, or initial or trained in the folder of a pipeline"
    return [Message("stage.runs", text, hint)]
