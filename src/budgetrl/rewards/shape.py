"""What every reward is: a frozen dataclass whose call maps a group of outcomes to one number each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.budget.records import Outcome

Parts = dict[str, list[float]]


@dataclass(frozen=True)
class Shape(ABC):
    """A reward. Its fields are its configuration; `reward.<field>=...` sets them."""

    name: str = ""
    """The option under conf/reward/, or the import path of a class of your own."""

    needs_format: ClassVar[str | None] = None
    """The response format the shape reads ("budget"), or None if any will do."""

    needs_b_max: ClassVar[bool] = False
    """Whether the shape reads reference lengths, which then have to be asked of the initial model."""

    @abstractmethod
    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """The named parts of the reward, G numbers each, that sum to the reward.

        `progress` runs from 0 (first step) to 1 (last step) of training.
        """

    def __call__(self, group: Sequence[Outcome], progress: float) -> list[float]:
        """The G rewards of a group: the sum of its parts."""
        columns = self.parts(group, progress).values()
        return [sum(row) for row in zip(*columns, strict=True)]

    def schedule(self, progress: float) -> dict[str, float]:
        """Coefficients that move during training, for the log (such as alpha)."""
        return {}

    def odd(self) -> list[str]:
        """What works but looks unintended, one line each, beginning with the dotted key."""
        return []
