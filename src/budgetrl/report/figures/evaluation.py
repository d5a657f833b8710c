"""Figures of an evaluation: difficulty levels, budget adherence, length control and token limits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.results import Results
from budgetrl.report.figures.canvas import (
    BLACK,
    BLUE,
    MARKERS,
    RED,
    color_and_marker,
    error_line,
    grid,
    legend_below,
    plain_log_axis,
    plain_log_ticks,
    small_multiples,
    styled,
)
from budgetrl.report.numbers import levels_of
from budgetrl.runs.folder import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEXAGONS = 34
"""Number of hexagonal cells across the budget-length plane."""
LEVEL_OFFSET = 0.012
"""Horizontal distance between the points of two levels at one budget, as a share of it. Keeps their bars apart."""
MAX_LIGHTNESS = 0.7
"""End of the color map's range used for levels, from 0 to 1. Colors beyond it are too light on white."""

LengthsByProblem = dict[str, list[int]]


@styled
def by_level(models: Mapping[str, Results]) -> "Figure | None":
    """Draw accuracy, length and budget by difficulty level, with a line for each model."""
    titles = {"accuracy": "Accuracy (%)", "length": "Mean length (tokens)", "budget": "Mean budget (tokens)"}
    metrics: list[str] = []
    for metric in titles:
        if any(_estimates_by_level(results, metric) for results in models.values()):
            metrics.append(metric)
    if not metrics:
        return None
    figure, axes = small_multiples(len(metrics), height=2.9)
    levels = levels_of(models.values())
    for ax, metric in zip(axes, metrics, strict=True):
        _draw_levels(ax, models, metric, levels)
        ax.set_title(titles[metric])
        if metric != "accuracy":
            ax.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    return figure


@styled
def budget_against_length(rows: Sequence[Row]) -> "Figure | None":
    """Draw the density of completions over budget and length, both logarithmic.

    None if no completion has both a budget and a length above 0.
    """
    pairs: list[tuple[float, float]] = []
    for row in rows:
        if row.get("budget") and row["length"] > 0:  # a logarithmic axis has no 0
            pairs.append((row["budget"], row["length"]))
    if not pairs:
        return None
    budgets, lengths = np.array(pairs, dtype=float).T
    figure, (ax,) = grid(1, 1, width=5.2, height=4.2)
    # Both axes have the same range, so that length = budget is the diagonal.
    low, high = 0.8 * min(budgets.min(), lengths.min()), 1.25 * max(budgets.max(), lengths.max())
    extent = np.log10([low, high])  # hexbin takes exponents if an axis is logarithmic
    _draw_bands(ax, low, high)
    cells = ax.hexbin(
        budgets, lengths, gridsize=HEXAGONS, xscale="log", yscale="log", mincnt=1, cmap="viridis",
        norm="log", extent=(*extent, *extent), linewidths=0.2, zorder=3,
    )  # fmt: skip
    # The color scale needs two values at least: with one completion in every cell it would have no length.
    cells.set_clim(1, max(2, np.max(np.asarray(cells.get_array()))))
    color_bar = figure.colorbar(cells, ax=ax, label="Completions per cell", shrink=0.85)
    plain_log_axis(color_bar.ax.yaxis)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="Budget (tokens)", ylabel="Length (tokens)")
    legend_below(figure, ax)
    plain_log_ticks(ax)
    return figure


@styled
def length_control(rows: Sequence[Row]) -> "Figure | None":
    """Draw the mean length against the pre-filled budget, with a line for each difficulty level."""
    by_level = _lengths_by_level_and_budget(rows)
    if not by_level:
        return None
    figure, (ax,) = grid(1, 1, width=5.2, height=4.0)
    budgets = sorted(set().union(*by_level.values()))
    ax.plot(budgets, budgets, color=BLACK, linestyle="--", linewidth=1, zorder=5, label="length = budget")
    colors = _dark_to_light(len(by_level))
    for index, (level, by_budget) in enumerate(sorted(by_level.items(), key=_level_order)):
        # Levels are spread around the budget so that they do not overlap; the factor makes it even on a log axis.
        factor = (1 + LEVEL_OFFSET) ** (index - (len(by_level) - 1) / 2)
        at: list[float] = []
        estimates: list[Estimate] = []
        for budget, by_problem in sorted(by_budget.items()):
            at.append(factor * budget)
            estimates.append(_mean_over_problems(by_problem))
        label = "all problems" if level is None else f"level {level}"
        style = {"color": colors[index], "marker": MARKERS[index % len(MARKERS)], "label": label}
        # A white edge separates a marker from the lines below it.
        style |= {"markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 0.7}
        error_line(ax, at, estimates, **style)
    ax.set(xscale="log", yscale="log", xlabel="Given budget (tokens)", ylabel="Mean length (tokens)")
    plain_log_ticks(ax)
    figure.legend(loc="outside right upper")
    return figure


@styled
def accuracy_against_limit(models: Mapping[str, Results]) -> "Figure | None":
    """Draw accuracy over the token limit, and over the mean length under that limit.

    Each model has a color and marker. Cutoffs are solid and filled, given budgets dashed and hollow. None if no model
    has numbers for either.
    """
    figure, axes = grid(1, 2, width=8.0, height=3.2)
    for index, (model, results) in enumerate(models.items()):
        _draw_limits(axes, model, results, _model_style(index, len(models)))
    if not axes[0].containers:
        return None
    for ax, (title, xlabel) in zip(axes, _LIMIT_PANELS.items(), strict=True):
        ax.set(xscale="log", title=title, xlabel=xlabel, ylabel="Accuracy (%)")
        plain_log_axis(ax.xaxis)
    legend_below(figure, axes[0])
    return figure


def _draw_limits(axes: Sequence["Axes"], model: str, results: Results, model_style: Mapping[str, Any]) -> None:
    """Draw one model's curves, for cutoffs and for given budgets, into both panels."""
    for kind, (name, style) in _LIMITS.items():
        limits: list[int] = []
        lengths: list[float] = []
        accuracies: list[Estimate] = []
        for limit in results.part_numbers(kind):
            part = Part(kind, limit)
            accuracy, length = results.get(Key("accuracy", part=part)), results.get(Key("length", part=part))
            if accuracy and length:
                limits.append(limit)
                lengths.append(length.value)
                accuracies.append(accuracy)
        line_style = {**model_style, **style, "label": f"{model} model, {name}" if model else name}
        if limits:
            error_line(axes[0], limits, accuracies, 100, **line_style)
            error_line(axes[1], lengths, accuracies, 100, **line_style)


_LIMITS: dict[PartKind, tuple[str, dict[str, Any]]] = {
    PartKind.CUTOFF: ("cutoff", {"linestyle": "solid"}),
    PartKind.BUDGET: ("given budget", {"linestyle": "dashed", "markerfacecolor": "white"}),
}
"""Name in the legend and line style of each kind of limit."""
_LIMIT_PANELS = {
    "Accuracy against token limit": "Cutoff or given budget (tokens)",
    "Accuracy against length": "Mean length under the limit (tokens)",
}
"""Titles of the two panels with the labels of their horizontal axes."""


def _model_style(index: int, count: int) -> dict[str, Any]:
    """Return a model's color and marker: red for the initial, blue for the trained model or a single one.

    With more than two models each has its own color.
    """
    color, marker = color_and_marker(index)
    if count <= 2:
        # Indexed from the end, so that the last model is blue: -2 and -1 for two models, -1 for one.
        color = (RED, BLUE)[index - count]
    return {"color": color, "marker": marker}


def _draw_levels(ax: "Axes", models: Mapping[str, Results], metric: str, levels: Sequence[int]) -> None:
    """Draw a metric by level into one panel. Levels are evenly spaced, whatever their numbers."""
    # Models are shifted sideways so that their bars do not overlap: by 0.08 of the distance between two levels, less
    # if there are so many models that they would reach the next level.
    shift = min(0.08, 0.6 / len(models))
    for index, (model, results) in enumerate(models.items()):
        estimates = _estimates_by_level(results, metric)
        offset = shift * (index - (len(models) - 1) / 2)  # centered: 0 for a single model
        at = [levels.index(level) + offset for level in estimates]
        style = {**_model_style(index, len(models)), "label": model}
        error_line(ax, at, list(estimates.values()), 100 if metric == "accuracy" else 1, **style)
    ax.set_xticks(range(len(levels)), list(map(str, levels)))
    ax.set_xlabel("Difficulty level")


def _draw_bands(ax: "Axes", low: float, high: float) -> None:
    """Shade the lengths within 50 % and 25 % of the budget, and draw the diagonal."""
    ends = np.array([low, high])
    for share, shade in ((0.5, "#eeeeee"), (0.25, "#d9d9d9")):
        label = f"within {100 * share:.0f} % of the budget"
        ax.fill_between(ends, (1 - share) * ends, (1 + share) * ends, color=shade, linewidth=0, label=label, zorder=1)
    ax.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="length = budget", zorder=2)


def _estimates_by_level(results: Results, metric: str) -> dict[int, Estimate]:
    """Return the estimates of a metric by level."""
    found: dict[int, Estimate] = {}
    for level in results.part_numbers(PartKind.LEVEL):
        estimate = results.get(Key(metric, part=Part(PartKind.LEVEL, level)))
        if estimate is not None:
            found[level] = estimate
    return found


def _lengths_by_level_and_budget(rows: Sequence[Row]) -> dict[Any, dict[int, LengthsByProblem]]:
    """Return lengths by level (None for problems without one), pre-filled budget and problem id."""
    by_level: dict[Any, dict[int, LengthsByProblem]] = {}
    for row in rows:
        if row.get("prefilled"):
            by_budget = by_level.setdefault(row.get("level"), {})
            by_problem = by_budget.setdefault(row["prefilled"], {})
            by_problem.setdefault(row["problem_id"], []).append(row["length"])
    return by_level


def _mean_over_problems(by_problem: Mapping[str, Sequence[float]]) -> Estimate:
    """Return the mean of problem means. Its error is over problems: samples of a problem are not independent."""
    means = [np.mean(values) for values in by_problem.values()]
    error = None
    if len(means) > 1:
        error = float(np.std(means, ddof=1) / np.sqrt(len(means)))
    return Estimate(float(np.mean(means)), error)


def _level_order(item: tuple[Any, Any]) -> tuple[bool, float]:
    """Return a sort key for (level, value) pairs: by number, problems without a level last."""
    level, _ = item
    return level is None, level or 0


def _dark_to_light(count: int) -> list[Any]:
    """Return colors in order from dark to light, so that the order of levels shows in grayscale too."""
    from matplotlib import colormaps

    return [colormaps["plasma"](position) for position in np.linspace(0, MAX_LIGHTNESS, count)]
