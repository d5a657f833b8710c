"""Training curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import DURING_TRAINING
from budgetrl.metrics.results import Results
from budgetrl.report.figures.canvas import (
    COLORS,
    LINES,
    MARKERS,
    error_line,
    grid,
    legend_above,
    legend_below,
    legend_marker,
    small_multiples,
    styled,
)
from budgetrl.runs.folder import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMOOTHING = 0.06
"""Share of the steps that a training curve's bold line averages over."""


@dataclass(frozen=True)
class Curve:
    """One line of a training panel."""

    key: str
    label: str
    scale: float = 1.0
    noisy: bool = True
    """False for a schedule, which needs no smoothing."""


@dataclass(frozen=True)
class Panel:
    """One training panel: a title with the unit, and the metrics that belong together."""

    title: str
    curves: tuple[Curve, ...]


PANELS = (
    Panel("Reward", (Curve("reward", "reward"),)),
    Panel("Accuracy and format, %", (Curve("accuracy", "accuracy", 100), Curve("format", "well formed", 100))),
    Panel("Length and budget, tokens", (Curve("length", "length"), Curve("budget", "budget"))),
    Panel(
        "Length within x % of budget, %",
        tuple(Curve(f"match_{x}", f"{x} %", 100) for x in (50, 25, 10)),
    ),
    Panel("Tightness alpha", (Curve("alpha", "alpha", noisy=False),)),
    Panel("Entropy, nats", (Curve("budget_entropy", "of the budget"), Curve("entropy", "per token"))),
    Panel("Rank correlation, budget and level", (Curve("budget_level_rho", "rho"),)),
    Panel(
        "Nothing to learn from, %",
        (
            Curve("groups_equal", "groups all equal", 100),
            Curve("truncated", "cut off", 100),
        ),
    ),
    Panel("KL to reference, nats per token", (Curve("kl", "KL"),)),
    Panel("Loss", (Curve("loss", "loss"),)),
)
"""In reading order. Left out: panels without a logged metric, and the loss where there is a reward."""


@styled
def training_curves(rows: Sequence[Row]) -> "Figure | None":
    """Small multiples over steps: each step thin, the running mean bold, evaluations as points."""
    panels: list[Panel] = []
    for panel in PANELS:
        if any(_is_logged(rows, curve) for curve in panel.curves):
            panels.append(panel)
    titles = [panel.title for panel in panels]
    if "Reward" in titles and "Loss" in titles:
        del panels[titles.index("Loss")]
    if not panels:
        return None
    figure, axes = small_multiples(len(panels))
    examined = _examinations(rows)
    markers = dict(zip(sorted(examined), MARKERS, strict=False))
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, rows, examined, markers)
    if markers:
        handles = [legend_marker(marker, f"held-out problems of {dataset}") for dataset, marker in markers.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


@styled
def budgets_in_training(models: Mapping[str, Sequence[Row]]) -> "Figure | None":
    """Budget and length over the steps, a line for each model; rows of the same step, of several runs, are averaged."""
    panels = {"Budget, tokens": Curve("budget", "budget"), "Length, tokens": Curve("length", "length")}
    drawn: dict[str, Sequence[Row]] = {}
    for model, rows in models.items():
        if any(row.get("budget") is not None for row in rows):
            drawn[model] = rows
    if not drawn:
        return None
    figure, axes = grid(1, 2, width=8.0, height=3.0)
    for ax, (title, curve) in zip(axes, panels.items(), strict=True):
        for index, (model, rows) in enumerate(drawn.items()):
            steps, values = _mean_series(rows, curve)
            # Once all colors are used they come again with the next style of line.
            color, style = COLORS[index % len(COLORS)], LINES[index // len(COLORS) % len(LINES)]
            ax.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
            ax.plot(steps, _running_mean(values), color=color, linestyle=style, label=model)
        ax.set(title=title, xlabel="step")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    return figure


def _draw_panel(
    ax: "Axes",
    panel: Panel,
    rows: Sequence[Row],
    examined: Mapping[str, Mapping[int, Results]],
    markers: Mapping[str, str],
) -> None:
    """Draw one panel: its curves, and what evaluations on the way found, `examined` by data set and step."""
    several = len(panel.curves) > 1
    for curve, color in zip(panel.curves, COLORS, strict=False):
        steps, values = _series(rows, curve)
        if not steps.size:
            continue
        if curve.noisy:
            ax.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
        values = _running_mean(values) if curve.noisy else values
        ax.plot(steps, values, color=color, label=curve.label if several else None)
        for dataset, marker in markers.items():
            _draw_evaluations(ax, examined[dataset], curve, color=color, marker=marker)
    ax.set_title(panel.title, pad=19)  # points: a line of legend fits between title and panel
    ax.set_xlabel("step")
    if panel.title.endswith("%"):
        _limit_to_shares(ax)
    if several:
        legend_above(ax)


def _limit_to_shares(ax: "Axes") -> None:
    """At least five points of range, so that what does not move looks it, and no more than there can be."""
    low, high = ax.get_ylim()
    spare = max(0.0, 5 - (high - low)) / 2
    ax.set_ylim(max(low - spare, -2), min(high + spare, 102))


def _draw_evaluations(ax: "Axes", by_step: Mapping[int, Results], curve: Curve, **style: Any) -> None:
    """Draw a point with its error at each step where an evaluation measured the curve's metric."""
    steps: list[int] = []
    estimates: list[Estimate] = []
    for step, results in by_step.items():
        estimate = results.get(curve.key)
        if estimate is not None:
            steps.append(step)
            estimates.append(estimate)
    error_line(ax, steps, estimates, curve.scale, linestyle="none", markeredgecolor="white", zorder=4, **style)


def _examinations(rows: Sequence[Row]) -> dict[str, dict[int, Results]]:
    """What was measured on each data set while the run trained, by step."""
    found: dict[str, dict[int, Results]] = {}
    for row in rows:
        results = Results.parse(row)
        for dataset in results.datasets(DURING_TRAINING):
            found.setdefault(dataset, {})[row["step"]] = results.of(dataset, DURING_TRAINING)
    return found


def _is_logged(rows: Sequence[Row], curve: Curve) -> bool:
    _, values = _series(rows, curve)
    return values.size > 0


def _series(rows: Sequence[Row], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which the metric was logged and finite, and its values there."""
    steps: list[float] = []
    values: list[float] = []
    for row in rows:
        value = row.get(curve.key)
        if value is not None:
            steps.append(row["step"])
            values.append(curve.scale * value)
    return np.array(steps, dtype=float), np.array(values, dtype=float)


def _mean_series(rows: Sequence[Row], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The steps, each once, and the mean of what was logged at it."""
    steps, values = _series(rows, curve)
    distinct, at = np.unique(steps, return_inverse=True)
    return distinct, np.bincount(at, values) / np.bincount(at)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the values around each one; the window is centered and shrinks at the ends."""
    half = max(1, round(SMOOTHING * len(values) / 2))
    means = np.empty(len(values))
    for at in range(len(values)):
        means[at] = values[max(0, at - half) : at + half + 1].mean()
    return means
