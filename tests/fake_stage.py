"""A stage of a user's own, without a model, that ends in whichever way it is told to."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require
from budgetrl.core.errors import RequestError
from budgetrl.core.workload import Workload
from budgetrl.runs.context import Context
from budgetrl.runs.stop import Stopped
from budgetrl.settings.config import Config
from budgetrl.settings.stages.base import StageSettings

OVERRIDES = ["stage=fake", "tracking=none"]
KILLER, CRASHER = 7, 13
"""Seeds that in a stage which ends by seed kill the parent, the first time, and crash, every time."""
YAML = "name: fake_stage.FakeStage\nends: well\nsteps: 3\ndatasets: []\n"


@dataclass(frozen=True)
class FakeStage(StageSettings):
    """Its name is an import path, as that of any stage from outside budgetrl."""

    name: str = "fake_stage.FakeStage"
    ends: str = "well"
    steps: int = 3
    datasets: tuple[str, ...] = ()

    executor: ClassVar[str] = "fake_stage"
    reported: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", f"must be 1 or more, got {self.steps}")

    def workload(self, config: Config) -> Workload:
        return Workload({"steps": self.steps}, trains=True)  # so that its ranks are joined as those of training are


def run(stage: FakeStage, config: Config, ctx: Context) -> dict[str, float]:
    """End as the settings say."""
    if stage.ends == "by seed" and config.seed == KILLER and not (ctx.folder.path / "metrics.jsonl").exists():
        ctx.folder.append_metrics({"step": 0})
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if stage.ends == "crash" or (stage.ends == "by seed" and config.seed == CRASHER):
        raise ArithmeticError("out of numbers")
    if stage.ends == "crash on rank 1" and ctx.world.rank == 1:
        raise ArithmeticError("out of numbers on rank 1")
    if stage.ends == "bad row":
        raise RequestError("data.jsonl, line 3: no answer")
    if stage.ends == "stopped":
        raise Stopped
    if stage.ends == "interrupted":
        raise KeyboardInterrupt
    for step in range(1, stage.steps + 1):
        ctx.folder.append_metrics({"step": step, "loss": 1 / step})
    return {f"{config.dataset.name}/accuracy": 0.5}
