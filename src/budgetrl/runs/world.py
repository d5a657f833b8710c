"""What the ranks of a run tell each other, as stages see it; and a run of one process, which needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class World(Protocol):
    """This rank among the others."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_main(self) -> bool:
        """True on the one rank that writes and speaks."""
        ...

    @property
    def device(self) -> Any:
        """The torch device of this rank; None where no model is run."""
        ...

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's part of a list that all ranks hold: every size-th item."""
        ...

    def gather(self, item: T) -> list[T]:
        """Every rank's item, in rank order, on every rank."""
        ...

    def merge(self, items: Sequence[T]) -> list[T]:
        """Put the ranks' shares together again: the inverse of `share`."""
        ...

    def any(self, flag: bool) -> bool:
        """True on all ranks if it is true on one."""
        ...

    def barrier(self) -> None:
        """Wait for all ranks."""
        ...


@dataclass(frozen=True)
class SingleProcess:
    """The world of a stage that runs no model: this process is all there is."""

    rank: int = 0
    size: int = 1
    is_main: bool = True
    device: Any = None

    def share(self, items: Sequence[T]) -> list[T]:
        return list(items)

    def gather(self, item: T) -> list[T]:
        return [item]

    def merge(self, items: Sequence[T]) -> list[T]:
        return list(items)

    def any(self, flag: bool) -> bool:
        return flag

    def barrier(self) -> None:
        return None
