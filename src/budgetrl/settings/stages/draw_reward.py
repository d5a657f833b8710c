"""`draw_reward`: draw a figure of a reward function."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.settings.stages.base import StageSettings, length_errors

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class DrawReward(StageSettings):
    """Draw the reward as a function of length, for right, wrong and malformed responses, at several points of training.

    The figure is figures/reward.png in the run folder.
    """

    name: str = "draw_reward"
    longest: int = 2000
    """Largest length in the figure, in tokens."""

    executor: ClassVar[str] = "budgetrl.stages.draw_reward"
    reported: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "longest")

    def workload(self, config: "Config") -> Workload:
        return Workload({"figure": f"{config.reward.name} up to {self.longest:,} tokens"})

    def errors(self, config: "Config") -> list[Message]:
        return length_errors("stage.longest", self.longest, config)
