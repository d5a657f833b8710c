"""`mini`: generated sums, whose solutions are re-checked far more often than needed."""

from dataclasses import dataclass

from budgetrl.data.mini import sums
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.tasks import Task


@dataclass(frozen=True)
class MiniSettings(GeneratedSettings):
    """The task of `data/mini/sums.py`."""

    name: str = "mini"
    source: str = "mini"

    @property
    def task(self) -> Task:
        return sums
