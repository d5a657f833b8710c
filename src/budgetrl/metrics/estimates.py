"""A metric's value with its uncertainty, as stored in results."""

from dataclasses import dataclass

NOISE = 1e-7
"""Smaller errors are floating-point noise: identical lengths may have a standard error of 1e-17 instead of 0."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and the ends of its 95 % confidence interval; None where unknown.

    >>> Estimate(0.9, 0.01).shown_error, Estimate(1.0, 0.0).shown_error
    (0.01, None)
    """

    value: float
    error: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def shown_error(self) -> float | None:
        """The standard error to display, or None if it is 0."""
        # An error of 0 only means that all samples were equal. Displayed as "± 0" it would look like certainty.
        return self.error if self.error and self.error > NOISE else None
