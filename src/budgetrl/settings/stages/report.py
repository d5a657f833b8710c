"""`report`: tables and figures from run folders alone."""

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
    """Tables and figures from run folders alone; nothing is run again."""

    name: str = "report"
    runs: str = "runs/*"
    """A run folder, a folder of run folders such as a sweep's, a pipeline's `initial` or `trained`, or a glob of these;
    unfinished runs are left out."""
    by: tuple[str, ...] = ()
    """Keys of the configuration by which several runs are grouped, a row for each choice of values; seeds and what else
    is not named are averaged. Empty: whatever tells the runs apart, but for the seed. `folder`: the folder's name less
    -s<seed>."""
    paper: str | None = None
    """A CSV with a paper's numbers, to stand below ours: model,dataset,metric,value,certainty."""

    executor: ClassVar[str] = "budgetrl.stages.report"
    reported: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def workload(self, config: "Config") -> Workload:
        return Workload({"run folders": len(self.folders())})

    def errors(self, config: "Config") -> list[Message]:
        return missing_runs(self.runs, self.folders())

    def folders(self) -> list[Path]:
        """The finished runs that `runs` stands for, by name; reports are not among them."""
        return finished_runs(self.runs)


def missing_runs(runs: str, folders: list[Path]) -> list[Message]:
    """What is wrong with a `stage.runs` under which no finished run lies."""
    if folders:
        return []
    text = f"no finished run lies under {runs!r}"
    hint = "name a run folder, a folder of them, or initial or trained inside that of a pipeline"
    return [Message("stage.runs", text, hint)]
