"""`mini_tradeoff`: generated chains of gaps, of which re-checks buy accuracy."""

from dataclasses import dataclass

from budgetrl.data.mini import gaps
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.tasks import Task


@dataclass(frozen=True)
class MiniTradeoffSettings(GeneratedSettings):
    """The task of `data/mini/gaps.py`."""

    name: str = "mini_tradeoff"
    source: str = "mini_tradeoff"

    @property
    def task(self) -> Task:
        return gaps
