"""A number and how sure we are of it, as it is written into results and read from them."""

from dataclasses import dataclass

NOISE = 1e-7
"""What is smaller than this comes of floating point: lengths that are all alike may have an error of 1e-17."""


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and the ends of its 95 % interval, None where there is none.

    >>> Estimate(0.9, 0.01).shown_error, Estimate(1.0, 0.0).shown_error
    (0.01, None)
    """

    value: float
    error: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def shown_error(self) -> float | None:
        """The error to show. None where it is 0: what was drawn was all alike, and that is no certainty."""
        return self.error if self.error and self.error > NOISE else None
