"""`regrade`: grade the completions of a finished evaluation anew, without a model."""

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
    """Verdicts of today's grader on completions that exist; what was measured in tokens stays as it was.

    Its folder then stands for that evaluation: whatever reads one reads the other. The settings of the evaluation are
    those of its own folder.
    """

    name: str = "regrade"
    evaluation: str | None = None
    """The folder of a finished stage=evaluate, or `initial` or `trained` in a pipeline's; must be given."""
    against: str | None = None
    """A finished evaluation of the same problems to compare with, as in stage=evaluate; null: none."""

    executor: ClassVar[str] = "budgetrl.stages.regrade"
    always_runs: ClassVar[bool] = True

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
