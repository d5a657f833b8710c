"""`mini_tradeoff`: generated chains of gaps. Re-checks improve accuracy, so shorter solutions cost accuracy."""

from dataclasses import dataclass

from budgetrl.data.mini import gaps
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.tasks import Task


@dataclass(frozen=True)
class MiniTradeoffSettings(GeneratedSettings):
    """Settings of the task in `data/mini/gaps.py`."""

    name: str = "mini_tradeoff"
    source: str = "mini_tradeoff"

    @property
    def task(self) -> Task:
        return gaps
