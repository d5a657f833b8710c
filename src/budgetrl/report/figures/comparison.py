"""Runs beside each other: the front of accuracy and length, and curves over a coefficient."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.results import Results
from budgetrl.report.figures.canvas import (
    COLORS,
    color_and_marker,
    error_line,
    grid,
    legend_below,
    legend_marker,
    styled,
)
from budgetrl.report.figures.labels import number_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


LONG_LABEL = 30
"""Letters. A legend with longer labels stands below the panel, since beside it it would leave it no width."""


@styled
def accuracy_against_length(runs: Mapping[str, Results]) -> "Figure | None":
    """Several runs on one data set: a point each, with both errors, and the front of those that none beats.

    None for a single one, which there is nothing to compare with. More of them than there are colors have numbers too,
    at the points and in the legend.
    """
    found: dict[str, tuple[Estimate, Estimate]] = {}
    for name, results in runs.items():
        length, accuracy = results.get("length"), results.get("accuracy")
        if length and accuracy:
            found[name] = length, accuracy
    if len(found) < 2:
        return None
    below = max(map(len, found)) > LONG_LABEL
    legend_height = 0.2 * len(found)  # inches: below the panel it adds to the figure, beside it it only needs to fit
    figure, (ax,) = grid(1, 1, width=6.6, height=3.8 + legend_height if below else max(3.6, legend_height))
    numbered = len(found) > len(COLORS)
    centers = [(length.value, 100 * accuracy.value) for length, accuracy in found.values()]
    bars: list[ErrorbarContainer] = []
    entries: list[Line2D] = []
    for index, (name, (length, accuracy)) in enumerate(found.items()):
        bars.append(_draw_point(ax, index, centers, length, accuracy, thin=numbered))
        color, marker = color_and_marker(index)
        label = f"{index + 1} {name}" if numbered else name
        entries.append(legend_marker(marker, label, color, filled=False))
    front = pareto_front(centers)
    if len(front) > 1:
        lengths, accuracies = zip(*front, strict=True)
        label = "none is better in both"
        entries += ax.plot(lengths, accuracies, color="#999999", linewidth=1, zorder=1, label=label)
    ax.set(xlabel="mean length, tokens", ylabel="accuracy, %")
    figure.legend(handles=entries, loc="outside lower left" if below else "outside right upper")
    if numbered:
        number_points(figure, ax, bars)
    return figure


def _draw_point(
    ax: "Axes",
    index: int,
    centers: Sequence[tuple[float, float]],
    length: Estimate,
    accuracy: Estimate,
    thin: bool,
) -> "ErrorbarContainer":
    """Draw a run's point with its bars; of several at the same place each is a ring around those before it."""
    color, marker = color_and_marker(index)
    before_it = centers[:index].count(centers[index])
    return ax.errorbar(
        *centers[index], xerr=length.error, yerr=_times(accuracy.error, 100), color=color, marker=marker,
        markerfacecolor="none", linestyle="none", markersize=6 + 4 * before_it,
        capsize=2, elinewidth=0.7 if thin else 1,
    )  # fmt: skip


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (length, accuracy) that no other equals or beats in both, by length.

    >>> pareto_front([(30, 90), (20, 80), (40, 90), (25, 70), (10, 50)])
    [(10, 50), (20, 80), (30, 90)]
    """
    front: list[tuple[float, float]] = []
    # From the shortest on, a point is of the front if it is more accurate than all that are shorter.
    for length, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((length, accuracy))
    return front


@styled
def against_coefficient(key: str, lines: Mapping[str, Mapping[float, Results]]) -> "Figure":
    """Accuracy and length over the values of one key of the configuration, with errors; a line for each label."""
    figure, axes = grid(1, 2, width=8.0, height=3.0)
    values: set[float] = set().union(*lines.values())
    for ax, (metric, title, scale) in zip(axes, _AGAINST_COEFFICIENT, strict=True):
        for index, (label, by_value) in enumerate(lines.items()):
            at: list[float] = []
            estimates: list[Estimate] = []
            for value, results in sorted(by_value.items()):
                estimate = results.get(metric)
                if estimate:
                    at.append(value)
                    estimates.append(estimate)
            color, marker = color_and_marker(index)
            error_line(ax, at, estimates, scale, color=color, marker=marker, label=label)
        ax.set(title=title, xlabel=key)
        _ticks_at(ax, sorted(values))
    axes[1].set_ylim(bottom=0)
    if len(lines) > 1:
        legend_below(figure, axes[0])
    return figure


MOST_TICKS = 8


def _ticks_at(ax: "Axes", values: Sequence[float]) -> None:
    """Ticks where there are points, as the user wrote the values; of many, some at equal steps in their order."""
    step = -(-len(values) // MOST_TICKS)  # rounded up
    shown = values[::step]
    ax.set_xticks(shown, [f"{value:.10g}" for value in shown])


_AGAINST_COEFFICIENT = (("accuracy", "Accuracy, %", 100.0), ("length", "Length, tokens", 1.0))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
