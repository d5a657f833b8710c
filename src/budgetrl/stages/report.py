"""`report`: one report over several run folders, or a run's own report again."""

from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import ClassVar

from budgetrl.budget.errors import RequestError
from budgetrl.report.report import write_comparison, write_report
from budgetrl.stages.base import Context, Job, Stage


@dataclass(frozen=True)
class Report(Stage):
    """Tables and figures from run folders alone; nothing is run again."""

    name: str = "report"
    runs: str = "runs/*"
    """A run folder, or a glob of several; unfinished ones are left out."""

    reported: ClassVar[bool] = False
    runs_model: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def plan(self, job: Job, ranks: int) -> dict[str, object]:
        return {"run folders": len(self.folders())}

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        folders = self.folders()
        if not folders:
            raise RequestError(f"stage.runs: no finished run lies under {self.runs!r}")
        if ctx.world.leads:
            report = write_report(folders[0]) if len(folders) == 1 else write_comparison(folders, ctx.folder.path)
            ctx.say(f"report: {report}")
        return {"runs": float(len(folders))}

    def folders(self) -> list[Path]:
        """The finished runs that `runs` stands for, by name."""
        return [Path(path) for path in sorted(glob(self.runs)) if (Path(path) / "result.json").exists()]
