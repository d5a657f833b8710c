"""Statistics of a group that several rewards share: which answers are right, their lengths, the solve rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from budgetrl.core.records import Outcome
from budgetrl.core.schedules import anneal


def is_right(outcome: Outcome) -> bool:
    """Return whether a response counts as right: correct and well formed. Truncated responses are never correct."""
    return outcome.correct and outcome.well_formed


def verdicts(group: Sequence[Outcome], right: float = 1.0, wrong: float = 0.0) -> list[float]:
    """Return `right` for each right outcome of the group and `wrong` for every other [G].

    >>> verdicts([Outcome(True, True, length=9), Outcome(True, False, length=9)], wrong=-1.0)
    [1.0, -1.0]
    """
    return [right if is_right(outcome) else wrong for outcome in group]


def right_lengths(group: Sequence[Outcome]) -> list[int]:
    """Return the lengths of the right responses, in tokens, in the order of the group. May be empty."""
    return [outcome.length for outcome in group if is_right(outcome)]


def solve_rate(group: Sequence[Outcome]) -> float:
    """Return the share of the group that is right, from 0 to 1."""
    return fmean(verdicts(group))


@dataclass(frozen=True)
class LengthStats:
    """Mean and standard deviation of lengths, in tokens."""

    mean: float
    std: float
    """Population standard deviation: the sum of squares is divided by n, not by n - 1."""

    @staticmethod
    def of(lengths: Sequence[int]) -> "LengthStats":
        """Return the statistics of one or more lengths. The std of a single length is 0.

        >>> round(LengthStats.of([1000, 2000, 3000]).std, 3)
        816.497
        """
        return LengthStats(fmean(lengths), pstdev(lengths))

    def z_score(self, length: int, epsilon: float) -> float:
        """Return how many standard deviations `length` is above the mean."""
        # Without epsilon this would be 0 / 0 if all lengths are equal; with it, the z-score is 0.
        return (length - self.mean) / (self.std + epsilon)


def cosine_between(start: float, end: float, share: float) -> float:
    """Return the value at `share` of a half cosine wave that goes from `start` (share 0) to `end` (share 1 and above).

    >>> cosine_between(2.0, 1.0, 0.5)
    1.5
    """
    return anneal("cosine", start, end, min(share, 1.0))  # anneal rejects shares above 1
