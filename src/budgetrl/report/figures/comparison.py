"""Figures that compare runs: accuracy against length with the Pareto front, and curves over a coefficient."""

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


MAX_LABEL_BESIDE = 30
"""Letters. A legend with a longer label goes below the panel: beside it, it would leave the panel too little width."""
MAX_TICKS = 8


@styled
def accuracy_against_length(runs: Mapping[str, Results]) -> "Figure | None":
    """Draw one point per run of a data set, with both errors, and the Pareto front.

    None for fewer than two runs. If there are more runs than colors, the points are also numbered, here and in the
    legend.
    """
    found: dict[str, tuple[Estimate, Estimate]] = {}
    centers: list[tuple[float, float]] = []
    for name, results in runs.items():
        length, accuracy = results.get("length"), results.get("accuracy")
        if length and accuracy:
            found[name] = length, accuracy
            centers.append((length.value, 100 * accuracy.value))
    if len(found) < 2:
        return None

    # A legend below adds its height to the figure; one beside the panel only needs to fit. All in inches.
    legend_height = 0.2 * len(found)
    is_below = max(map(len, found)) > MAX_LABEL_BESIDE
    height = 3.8 + legend_height if is_below else max(3.6, legend_height)
    figure, (ax,) = grid(1, 1, width=6.6, height=height)

    numbered = len(found) > len(COLORS)
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
        entries += ax.plot(lengths, accuracies, color="#999999", linewidth=1, zorder=1, label="Pareto front")
    ax.set(xlabel="Mean length (tokens)", ylabel="Accuracy (%)")
    figure.legend(handles=entries, loc="outside lower left" if is_below else "outside right upper")
    # Last, since the numbers are placed around everything else.
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
    """Draw a run's hollow point with its error bars. Points at the same place become concentric rings."""
    color, marker = color_and_marker(index)
    rings_inside = centers[:index].count(centers[index])
    accuracy_error = None if accuracy.error is None else 100 * accuracy.error
    return ax.errorbar(
        *centers[index], xerr=length.error, yerr=accuracy_error, color=color, marker=marker,
        markerfacecolor="none", linestyle="none", markersize=6 + 4 * rings_inside,
        capsize=2, elinewidth=0.7 if thin else 1,
    )  # fmt: skip


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (length, accuracy) that no other point matches or beats in both, sorted by length.

    >>> pareto_front([(30, 90), (20, 80), (40, 90), (25, 70), (10, 50)])
    [(10, 50), (20, 80), (30, 90)]
    """
    front: list[tuple[float, float]] = []
    # Going from short to long, a point is on the front if it is more accurate than all shorter ones. Among points of
    # the same length the most accurate comes first.
    for length, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((length, accuracy))
    return front


@styled
def against_coefficient(key: str, curves: Mapping[str, Mapping[float, Results]]) -> "Figure":
    """Draw accuracy and length over the values of a configuration key, with errors.

    Args:
        key: The configuration key on the horizontal axis.
        curves: Results by curve label and value of the key.
    """
    figure, axes = grid(1, 2, width=8.0, height=3.0)
    values: set[float] = set().union(*curves.values())
    for ax, (metric, title, scale) in zip(axes, _COEFFICIENT_PANELS, strict=True):
        for index, (label, by_value) in enumerate(curves.items()):
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
        _set_ticks(ax, sorted(values))
    axes[1].set_ylim(bottom=0)
    if len(curves) > 1:
        legend_below(figure, axes[0])
    return figure


_COEFFICIENT_PANELS = (("accuracy", "Accuracy (%)", 100.0), ("length", "Mean length (tokens)", 1.0))
"""Metric, title and factor."""


def _set_ticks(ax: "Axes", values: Sequence[float]) -> None:
    """Put ticks at the values that were run, written as the user wrote them; if there are many, at every n-th."""
    step = -(-len(values) // MAX_TICKS)  # rounded up
    shown = values[::step]
    ax.set_xticks(shown, [f"{value:.10g}" for value in shown])
