"""What several rewards ask of a group: who is right, how long the right ones are, how often it is solved."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from budgetrl.core.records import Outcome
from budgetrl.core.schedules import anneal


def is_right(outcome: Outcome) -> bool:
    """Whether the answer counts: correct, and well formed, which a truncated response never is."""
    return outcome.correct and outcome.well_formed


def right_lengths(group: Sequence[Outcome]) -> list[int]:
    """Lengths of the right ones, in tokens, in the group's order."""
    return [outcome.length for outcome in group if is_right(outcome)]


def solve_rate(group: Sequence[Outcome]) -> float:
    """The share of the group that is right."""
    return fmean(map(is_right, group))


@dataclass(frozen=True)
class LengthStats:
    """Mean and population standard deviation (n in the denominator) of lengths, in tokens."""

    mean: float
    std: float

    @staticmethod
    def of(lengths: Sequence[int]) -> "LengthStats":
        """The spread of one length or more; the std of one is 0.

        >>> round(LengthStats.of([1000, 2000, 3000]).std, 3)
        816.497
        """
        return LengthStats(fmean(lengths), pstdev(lengths))

    def z_score(self, length: int, epsilon: float) -> float:
        """How many standard deviations above the mean; `epsilon` keeps it finite where all are equal."""
        return (length - self.mean) / (self.std + epsilon)


def cosine_between(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` at share 0 to `end` at share 1 and beyond.

    >>> cosine_between(2.0, 1.0, 0.5)
    1.5
    """
    return anneal("cosine", start, end, min(share, 1.0))
