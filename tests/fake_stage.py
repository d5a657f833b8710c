"""A stage of a user's own, without a model, that ends in whichever way it is told to."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.stages.base import Context, Job, Stage

from budgetrl.core.errors import RequestError
from budgetrl.runs.stop import Stopped

OVERRIDES = ["stage=fake", "tracking=none"]
KILLER, CRASHER = 7, 13
"""Seeds that in a stage which ends by seed kill the parent, the first time, and crash, every time."""
YAML = "name: fake_stage.FakeStage\nends: well\nsteps: 3\ndatasets: []\n"


@dataclass(frozen=True)
class FakeStage(Stage):
    """Its name is an import path, as that of any stage from outside budgetrl."""

    name: str = "fake_stage.FakeStage"
    ends: str = "well"
    steps: int = 3
    datasets: tuple[str, ...] = ()

    reported: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: must be 1 or more, got {self.steps}")

    def plan(self, job: Job) -> dict[str, object]:
        return {"steps": self.steps}

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        if self.ends == "by seed" and job.seed == KILLER and not (ctx.folder.path / "metrics.jsonl").exists():
            ctx.folder.append_metrics({"step": 0})
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ends == "crash" or (self.ends == "by seed" and job.seed == CRASHER):
            raise ArithmeticError("out of numbers")
        if self.ends == "crash on rank 1" and ctx.world.rank == 1:
            raise ArithmeticError("out of numbers on rank 1")
        if self.ends == "bad row":
            raise RequestError("data.jsonl, line 3: no answer")
        if self.ends == "stopped":
            raise Stopped
        if self.ends == "interrupted":
            raise KeyboardInterrupt
        for step in range(1, self.steps + 1):
            ctx.folder.append_metrics({"step": step, "loss": 1 / step})
        return {f"{job.dataset.name}/accuracy": 0.5}
