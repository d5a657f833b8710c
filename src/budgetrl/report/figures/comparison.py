"""Runs beside each other: the front of accuracy and length, and curves over a coefficient."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.results import Results
from budgetrl.report.figures.canvas import COLORS, error_line, grid, legend_below, legend_marker, look, styled
from budgetrl.report.figures.labels import number_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure


LONG_LABEL = 30
"""Letters. A legend with longer labels stands below the panel, since beside it it would leave it no width."""


@styled
def accuracy_against_length(runs: Mapping[str, Results]) -> "Figure | None":
    """Several runs on one data set: a point each, with both errors, and the front of those that none beats.

    None for a single one, which there is nothing to compare with. More of them than there are colors have numbers too,
    at the points and in the legend.
    """
    points = {name: (r.get("length"), r.get("accuracy")) for name, r in runs.items()}
    found = {name: (x, y) for name, (x, y) in points.items() if x and y}
    if len(found) < 2:
        return None
    below = max(map(len, found)) > LONG_LABEL
    figure, (ax,) = grid(1, 1, width=6.6, height=3.8 + 0.2 * len(found) if below else max(3.6, 0.2 * len(found)))
    numbered = len(found) > len(COLORS)
    centers = [(length.value, 100 * accuracy.value) for length, accuracy in found.values()]
    lines = [_draw_point(ax, index, centers, *errors, numbered) for index, errors in enumerate(found.values())]
    labels = [f"{number} {name}" if numbered else name for number, name in enumerate(found, start=1)]
    entries = [legend_marker(look(index)[1], label, look(index)[0], filled=False) for index, label in enumerate(labels)]
    if len(front := pareto_front(centers)) > 1:
        label = "none is better in both"
        entries += ax.plot(*zip(*front, strict=True), color="#999999", linewidth=1, zorder=1, label=label)
    ax.set(xlabel="mean length, tokens", ylabel="accuracy, %")
    figure.legend(handles=entries, loc="outside lower left" if below else "outside right upper")
    if numbered:
        number_points(figure, ax, lines)
    return figure


def _draw_point(
    ax: "Axes",
    index: int,
    centers: Sequence[tuple[float, float]],
    length: Estimate,
    accuracy: Estimate,
    thin: bool,
) -> "ErrorbarContainer":
    """With its bars; of several at the same place one is a ring around the other."""
    color, marker = look(index)
    return ax.errorbar(
        *centers[index], xerr=length.error, yerr=_times(accuracy.error, 100), color=color, marker=marker,
        markerfacecolor="none", linestyle="none", markersize=6 + 4 * centers[:index].count(centers[index]),
        capsize=2, elinewidth=0.7 if thin else 1,
    )  # fmt: skip


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (length, accuracy) those that no other equals or beats in both, by length.

    >>> pareto_front([(30, 90), (20, 80), (40, 90), (25, 70), (10, 50)])
    [(10, 50), (20, 80), (30, 90)]
    """
    front: list[tuple[float, float]] = []
    for length, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((length, accuracy))
    return front


@styled
def against_coefficient(key: str, lines: Mapping[str, Mapping[float, Results]]) -> "Figure":
    """Accuracy and length over the values of one key of the configuration, with errors; a line for each label."""
    figure, axes = grid(1, 2, width=8.0, height=3.0)
    for ax, (metric, title, scale) in zip(axes, _AGAINST_COEFFICIENT, strict=True):
        for index, (label, by_value) in enumerate(lines.items()):
            found = {x: estimate for x, results in sorted(by_value.items()) if (estimate := results.get(metric))}
            color, marker = look(index)
            error_line(ax, list(found), list(found.values()), scale, color=color, marker=marker, label=label)
        ax.set(title=title, xlabel=key)
        _ticks_at(ax, sorted({x for by_value in lines.values() for x in by_value}))
    axes[1].set_ylim(bottom=0)
    if len(lines) > 1:
        legend_below(figure, axes[0])
    return figure


MOST_TICKS = 8


def _ticks_at(ax: "Axes", values: Sequence[float]) -> None:
    """Ticks where there are points, as the user wrote the values; of many, some at equal steps in their order."""
    shown = values[:: -(-len(values) // MOST_TICKS)]
    ax.set_xticks(shown, [f"{value:.10g}" for value in shown])


_AGAINST_COEFFICIENT = (("accuracy", "Accuracy, %", 100.0), ("length", "Length, tokens", 1.0))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
