"""What an evaluation found: levels, budgets kept, lengths controlled, cut-offs."""

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
"""Across the budget-length plane."""
APART = 0.012
"""By what share of a budget the lines of two levels are moved apart at it, so that their bars can be seen."""
LIGHTEST = 0.7
"""Where the ramp of levels ends in its color map, the rest of which is too light for lines on white."""


@styled
def by_level(models: Mapping[str, Results]) -> "Figure | None":
    """Accuracy, length and budget by difficulty, a line for each model."""
    titles = {"accuracy": "Accuracy, %", "length": "Length, tokens", "budget": "Budget, tokens"}
    drawn: list[str] = []
    for metric in titles:
        if any(_over_levels(results, metric) for results in models.values()):
            drawn.append(metric)
    if not drawn:
        return None
    figure, axes = small_multiples(len(drawn), height=2.9)
    levels = levels_of(models.values())
    for ax, metric in zip(axes, drawn, strict=True):
        _draw_levels(ax, models, metric, levels)
        ax.set_title(titles[metric])
        if metric != "accuracy":
            ax.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    return figure


@styled
def budget_against_length(rows: Sequence[Row]) -> "Figure | None":
    """How well budgets are kept: where on the plane of budget and length the completions lie."""
    pairs = [(row["budget"], row["length"]) for row in rows if row.get("budget") and row["length"] > 0]
    if not pairs:
        return None
    budgets, lengths = np.array(pairs, dtype=float).T
    figure, (ax,) = grid(1, 1, width=5.2, height=4.2)
    # Both axes have the same range, so that length = budget is the diagonal.
    low, high = 0.8 * min(budgets.min(), lengths.min()), 1.25 * max(budgets.max(), lengths.max())
    extent = np.log10([low, high])  # hexbin takes the exponents where an axis is logarithmic
    _draw_bands(ax, low, high)
    cells = ax.hexbin(
        budgets, lengths, gridsize=HEXAGONS, xscale="log", yscale="log", mincnt=1, cmap="viridis",
        norm="log", extent=(*extent, *extent), linewidths=0.2, zorder=3,
    )  # fmt: skip
    # At least two shades, or the color bar of cells with one completion each would have no length.
    cells.set_clim(1, max(2, np.max(np.asarray(cells.get_array()))))
    color_bar = figure.colorbar(cells, ax=ax, label="completions", shrink=0.85)
    plain_log_axis(color_bar.ax.yaxis)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="budget the model wrote, tokens", ylabel="length, tokens")
    legend_below(figure, ax)
    plain_log_ticks(ax)
    return figure


@styled
def length_control(rows: Sequence[Row]) -> "Figure | None":
    """Length obtained against the budget the user pre-filled, a line for each level, its points moved a little."""
    cells = _lengths_by_level_and_budget(rows)
    if not cells:
        return None
    figure, (ax,) = grid(1, 1, width=5.2, height=4.0)
    budgets = sorted(set().union(*cells.values()))
    ax.plot(budgets, budgets, color=BLACK, linestyle="--", linewidth=1, zorder=5, label="as asked")
    for index, (level, by_budget) in enumerate(sorted(cells.items(), key=_level_order)):
        estimates = {budget: _mean(by_problem) for budget, by_problem in sorted(by_budget.items())}
        # The points of all levels stand around the budget, on a logarithmic axis at equal distances.
        moved = (1 + APART) ** (index - (len(cells) - 1) / 2)
        label = "all problems" if level is None else f"level {level}"
        style = {"color": _ramp(len(cells))[index], "marker": MARKERS[index % len(MARKERS)], "label": label}
        # A white edge sets a marker apart from the lines that it lies on.
        style |= {"markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 0.7}
        error_line(ax, [moved * budget for budget in estimates], list(estimates.values()), **style)
    ax.set(xscale="log", yscale="log", xlabel="budget pre-filled, tokens", ylabel="mean length obtained, tokens")
    plain_log_ticks(ax)
    figure.legend(loc="outside right upper")
    return figure


@styled
def accuracy_against_limit(models: Mapping[str, Results]) -> "Figure | None":
    """Accuracy over the limit, and over the length that comes of it, a color and marker for each model.

    Cut-offs are solid and filled, given budgets dashed and hollow.
    """
    figure, axes = grid(1, 2, width=8.0, height=3.2)
    for index, (model, results) in enumerate(models.items()):
        _draw_limits(axes, model, results, _model_look(index, len(models)))
    if not axes[0].containers:
        return None
    for ax, (title, xlabel) in zip(axes, _AGAINST_LIMIT.items(), strict=True):
        ax.set(xscale="log", title=title, xlabel=xlabel, ylabel="accuracy, %")
        plain_log_axis(ax.xaxis)
    legend_below(figure, axes[0])
    return figure


def _draw_limits(axes: Sequence["Axes"], model: str, results: Results, drawn_as: Mapping[str, Any]) -> None:
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
        drawn = {**drawn_as, **style, "label": f"{model} model, {name}" if model else name}
        if limits:
            error_line(axes[0], limits, accuracies, 100, **drawn)
            error_line(axes[1], lengths, accuracies, 100, **drawn)


_LIMITS: dict[PartKind, tuple[str, dict[str, Any]]] = {
    PartKind.CUTOFF: ("cut off", {"linestyle": "solid"}),
    PartKind.BUDGET: ("budget given", {"linestyle": "dashed", "markerfacecolor": "white"}),
}
_AGAINST_LIMIT = {
    "Accuracy against the limit": "cut-off or budget given, tokens",
    "Accuracy against the length obtained": "mean length obtained, tokens",
}


def _model_look(index: int, count: int) -> dict[str, Any]:
    """The initial model is red, the trained one blue, as is a model by itself; more than two have a color each."""
    color, marker = color_and_marker(index)
    if count <= 2:
        # Counted from the end, so that the last is blue: (-2, -1) for two models, -1 for one.
        color = (RED, BLUE)[index - count]
    return {"color": color, "marker": marker}


def _draw_levels(ax: "Axes", models: Mapping[str, Results], metric: str, levels: Sequence[int]) -> None:
    """Levels stand at equal distances; models are moved apart a little so that their bars do not overlap."""
    apart = min(0.08, 0.6 / len(models))
    for index, (model, results) in enumerate(models.items()):
        found = _over_levels(results, metric)
        moved = apart * (index - (len(models) - 1) / 2)  # around 0, so that a model by itself is not moved
        at = [levels.index(level) + moved for level in found]
        style = {**_model_look(index, len(models)), "label": model}
        error_line(ax, at, list(found.values()), 100 if metric == "accuracy" else 1, **style)
    ax.set_xticks(range(len(levels)), [str(level) for level in levels])
    ax.set_xlabel("level")


def _draw_bands(ax: "Axes", low: float, high: float) -> None:
    """Shade the lengths that are near their budget."""
    ends = np.array([low, high])
    for share, shade in ((0.5, "#eeeeee"), (0.25, "#d9d9d9")):
        label = f"within {share:.0%} of the budget".replace("%", " %")
        ax.fill_between(ends, (1 - share) * ends, (1 + share) * ends, color=shade, linewidth=0, label=label, zorder=1)
    ax.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="length = budget", zorder=2)


def _over_levels(results: Results, metric: str) -> dict[int, Estimate]:
    """The estimates of a metric by level."""
    found: dict[int, Estimate] = {}
    for level in results.part_numbers(PartKind.LEVEL):
        if (estimate := results.get(Key(metric, part=Part(PartKind.LEVEL, level)))) is not None:
            found[level] = estimate
    return found


def _lengths_by_level_and_budget(rows: Sequence[Row]) -> dict[Any, dict[int, dict[str, list[int]]]]:
    """Lengths by level, pre-filled budget and problem."""
    cells: dict[Any, dict[int, dict[str, list[int]]]] = {}
    for row in rows:
        if row.get("prefilled"):
            by_problem = cells.setdefault(row.get("level"), {}).setdefault(row["prefilled"], {})
            by_problem.setdefault(row["problem_id"], []).append(row["length"])
    return cells


def _mean(by_problem: Mapping[str, Sequence[float]]) -> Estimate:
    """The mean over problem means, with its standard error: samples of one problem are not independent."""
    means = [np.mean(values) for values in by_problem.values()]
    error = None
    if len(means) > 1:
        error = float(np.std(means, ddof=1) / np.sqrt(len(means)))
    return Estimate(float(np.mean(means)), error)


def _level_order(item: tuple[Any, Any]) -> tuple[bool, float]:
    """Where a level stands: by its number, problems without one last."""
    level, _ = item
    return level is None, level or 0


def _ramp(count: int) -> list[Any]:
    """Colors in order from dark to light, for levels."""
    from matplotlib import colormaps

    return [colormaps["plasma"](x) for x in np.linspace(0, LIGHTEST, count)]
