"""Communication between the ranks of a run, as stages use it, and its torch-free version for a single process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class World(Protocol):
    """This rank, and the operations it shares with the other ranks.

    `gather`, `merge`, `any` and `barrier` are collective: all ranks must call them in the same order.
    """

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_main(self) -> bool:
        """True on exactly one rank, which writes files and prints."""
        ...

    @property
    def device(self) -> Any:
        """The torch device of this rank. None if the stage runs no model."""
        ...

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this rank's part of a list that all ranks hold: every size-th item, starting at its rank."""
        ...

    def gather(self, item: T) -> list[T]:
        """Return every rank's item, in rank order, on every rank."""
        ...

    def merge(self, items: Sequence[T]) -> list[T]:
        """Combine the ranks' shares in the original order: the inverse of `share`."""
        ...

    def any(self, flag: bool) -> bool:
        """Return True on all ranks if `flag` is true on at least one."""
        ...

    def barrier(self) -> None:
        """Wait until all ranks get here."""
        ...


@dataclass(frozen=True)
class SingleProcess:
    """The world of a stage that runs no model: one process, no torch."""

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
