"""`regrade`: grade the completions of a finished evaluation again, without a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.report.reading import evaluation_errors
from budgetrl.settings.stages.base import StageSettings

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Regrade(StageSettings):
    """Grade existing completions with the current grader. Numbers measured in tokens are not computed again.

    The run folder can be used wherever an evaluation is expected, such as by stage=report. The settings of the
    evaluation are read from its own folder.
    """

    name: str = "regrade"
    evaluation: str | None = None
    """Folder of a finished stage=evaluate, or `initial` or `trained` in the folder of a pipeline; required."""
    against: str | None = None
    """Folder of a finished evaluation of the same problems to compare with, as in stage=evaluate; null: none."""

    executor: ClassVar[str] = "budgetrl.stages.regrade"
    always_runs: ClassVar[bool] = True  # the grader may have changed since

    def workload(self, config: "Config") -> Workload:
        summary: dict[str, object] = {"evaluation": self.evaluation}
        if self.against:
            summary["compared with"] = self.against
        return Workload(summary=summary)

    def errors(self, config: "Config") -> list[Message]:
        if self.evaluation is None:
            return [Message("stage.evaluation", "must be given, as the folder of a finished evaluation")]
        return evaluation_errors("stage.evaluation", Path(self.evaluation))

    def warnings(self, config: "Config") -> list[Message]:
        return [] if self.against is None else evaluation_errors("stage.against", Path(self.against))
