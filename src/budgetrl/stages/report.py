"""`report`: one report over several run folders, a run's own report again, or a picture of a reward."""

from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import ClassVar

from budgetrl.budget.checks import require_count
from budgetrl.budget.errors import RequestError
from budgetrl.report import figures
from budgetrl.report.report import write_comparison, write_report
from budgetrl.stages.base import Context, Job, Stage, length_faults


@dataclass(frozen=True)
class Report(Stage):
    """Tables and figures from run folders alone; nothing is run again. Or the reward, drawn as a figure."""

    name: str = "report"
    runs: str = "runs/*"
    """A run folder, or a glob of several; unfinished ones are left out."""
    draw_reward: int | None = None
    """Draw the reward against lengths up to this many tokens, instead of a report; null: don't."""

    reported: ClassVar[bool] = False
    runs_model: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self, "draw_reward")

    def plan(self, job: Job, ranks: int) -> dict[str, object]:
        if self.draw_reward:
            return {"figure": f"{job.reward.name} up to {self.draw_reward:,} tokens"}
        return {"run folders": len(self.folders())}

    def check(self, job: Job) -> list[str]:
        return length_faults("stage.draw_reward", self.draw_reward, job) if self.draw_reward else []

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        if self.draw_reward:
            return self._draw(job, ctx, self.draw_reward)
        folders = self.folders()
        if not folders:
            raise RequestError(f"stage.runs: no finished run lies under {self.runs!r}")
        if ctx.world.leads:
            report = write_report(folders[0]) if len(folders) == 1 else write_comparison(folders, ctx.folder.path)
            ctx.say(f"report: {report}")
        return {"runs": float(len(folders))}

    def _draw(self, job: Job, ctx: Context, longest: int) -> dict[str, float]:
        if ctx.world.leads:
            figure = figures.reward_shape(job.reward, longest)
            ctx.say(f"figure: {figures.save(figure, ctx.folder.path / 'figures' / 'reward.png')}")
        return {}

    def folders(self) -> list[Path]:
        """The finished runs that `runs` stands for, by name."""
        return [Path(path) for path in sorted(glob(self.runs)) if (Path(path) / "result.json").exists()]
