"""`mini`: generated sums. Their solutions contain far more re-checks than needed."""

from dataclasses import dataclass

from budgetrl.data.mini import sums
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.tasks import Task


@dataclass(frozen=True)
class MiniSettings(GeneratedSettings):
    """Settings of the task in `data/mini/sums.py`."""

    name: str = "mini"
    source: str = "mini"

    @property
    def task(self) -> Task:
        return sums
