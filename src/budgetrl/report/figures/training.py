"""Figures of training: metrics over steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import DURING_TRAINING
from budgetrl.metrics.results import Results
from budgetrl.report.figures.canvas import (
    COLORS,
    LINE_STYLES,
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
"""Window of the running mean, as a share of the number of points."""


@dataclass(frozen=True)
class Curve:
    """One line of a training panel."""

    key: str
    """The metric in metrics.jsonl."""
    label: str
    scale: float = 1.0
    noisy: bool = True
    """Whether to draw a running mean too; False for schedules."""


@dataclass(frozen=True)
class Panel:
    """One training panel: related metrics, and a title with their unit."""

    title: str
    curves: tuple[Curve, ...]


_REWARD = Panel("Reward", (Curve("reward", "reward"),))
_LOSS = Panel("Loss", (Curve("loss", "loss"),))
PANELS = (
    _REWARD,
    Panel("Accuracy and format (%)", (Curve("accuracy", "accuracy", 100), Curve("format", "well formed", 100))),
    Panel("Length and budget (tokens)", (Curve("length", "length"), Curve("budget", "budget"))),
    Panel(
        "Length within x % of budget (%)",
        (Curve("match_50", "50 %", 100), Curve("match_25", "25 %", 100), Curve("match_10", "10 %", 100)),
    ),
    Panel("Tightness alpha", (Curve("alpha", "alpha", noisy=False),)),
    Panel("Entropy (nats)", (Curve("budget_entropy", "of the budget"), Curve("entropy", "per token"))),
    Panel("Rank correlation, budget and level", (Curve("budget_level_rho", "rho"),)),
    # A group whose rewards are all equal has no advantages, so it contributes no gradient.
    Panel(
        "Equal rewards, truncation (%)",
        (Curve("groups_equal", "equal-reward groups", 100), Curve("truncated", "truncated", 100)),
    ),
    Panel("KL to reference (nats per token)", (Curve("kl", "KL"),)),
    _LOSS,
)
"""All panels, in the order in which they are drawn. `training_curves` leaves out those without data."""


@styled
def training_curves(rows: Sequence[Row]) -> "Figure | None":
    """Draw a panel for each group of logged metrics over the training steps.

    A thin line shows the value of each step, a bold line the running mean. Evaluations during training are points with
    error bars.
    """
    panels: list[Panel] = []
    for panel in PANELS:
        # A policy-gradient loss says little about progress, so the loss is shown only if there is no reward.
        is_redundant = panel == _LOSS and _REWARD in panels
        if not is_redundant and any(_is_logged(rows, curve) for curve in panel.curves):
            panels.append(panel)
    if not panels:
        return None
    figure, axes = small_multiples(len(panels))
    evaluations = _evaluations(rows)
    markers = dict(zip(sorted(evaluations), MARKERS, strict=False))  # data sets beyond the last marker are left out
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, rows, evaluations, markers)
    if markers:
        handles: list[Any] = []
        for dataset, marker in markers.items():
            handles.append(legend_marker(marker, f"held-out problems of {dataset}"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


@styled
def budgets_in_training(models: Mapping[str, Sequence[Row]]) -> "Figure | None":
    """Draw budget and length over the training steps, with a line for each model.

    Rows of the same step, from several runs, are averaged. Models without budgets are left out.
    """
    panels = {"Budget (tokens)": Curve("budget", "budget"), "Length (tokens)": Curve("length", "length")}
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
            # Once all colors are used, they repeat with the next line style.
            color = COLORS[index % len(COLORS)]
            style = LINE_STYLES[index // len(COLORS) % len(LINE_STYLES)]
            ax.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
            ax.plot(steps, _running_mean(values), color=color, linestyle=style, label=model)
        ax.set(title=title, xlabel="Step")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    return figure


def _draw_panel(
    ax: "Axes",
    panel: Panel,
    rows: Sequence[Row],
    evaluations: Mapping[str, Mapping[int, Results]],
    markers: Mapping[str, str],
) -> None:
    """Draw one panel: its curves, and the `evaluations` during training (by data set and step) as points."""
    several = len(panel.curves) > 1
    for curve, color in zip(panel.curves, COLORS, strict=False):
        steps, values = _series(rows, curve)
        if not steps.size:
            continue
        if curve.noisy:
            ax.plot(steps, values, color=color, linewidth=0.6, alpha=0.35)
            values = _running_mean(values)
        ax.plot(steps, values, color=color, label=curve.label if several else None)
        for dataset, marker in markers.items():
            _draw_evaluations(ax, evaluations[dataset], curve, color=color, marker=marker)
    ax.set_title(panel.title, pad=19)  # in points; leaves room for a line of legend between title and panel
    ax.set_xlabel("Step")
    if panel.title.endswith("(%)"):
        _set_percent_limits(ax)
    if several:
        legend_above(ax)


def _set_percent_limits(ax: "Axes") -> None:
    """Set the vertical range to at least 5 points, so that a constant curve looks flat, and to at most -2 to 102."""
    low, high = ax.get_ylim()
    margin = max(0.0, 5 - (high - low)) / 2
    # Two points beyond 0 and 100 keep curves at the ends visible.
    ax.set_ylim(max(low - margin, -2), min(high + margin, 102))


def _draw_evaluations(ax: "Axes", by_step: Mapping[int, Results], curve: Curve, **style: Any) -> None:
    """Draw the curve's metric as a point with an error bar at each step that has an evaluation."""
    steps: list[int] = []
    estimates: list[Estimate] = []
    for step, results in by_step.items():
        estimate = results.get(curve.key)
        if estimate is not None:
            steps.append(step)
            estimates.append(estimate)
    error_line(ax, steps, estimates, curve.scale, linestyle="none", markeredgecolor="white", zorder=4, **style)


def _evaluations(rows: Sequence[Row]) -> dict[str, dict[int, Results]]:
    """Return the results of the evaluations during training, by data set and step."""
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
    """Return the steps at which a metric was logged, and its scaled values. Non-finite values are logged as null."""
    steps: list[float] = []
    values: list[float] = []
    for row in rows:
        value = row.get(curve.key)
        if value is not None:
            steps.append(row["step"])
            values.append(curve.scale * value)
    return np.array(steps, dtype=float), np.array(values, dtype=float)


def _mean_series(rows: Sequence[Row], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct steps, and the mean of the values logged at each."""
    steps, values = _series(rows, curve)
    distinct, positions = np.unique(steps, return_inverse=True)
    return distinct, np.bincount(positions, values) / np.bincount(positions)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Return a moving average. The window is centered, and smaller at both ends."""
    half = max(1, round(SMOOTHING * len(values) / 2))
    means = np.empty(len(values))
    for center in range(len(values)):
        means[center] = values[max(0, center - half) : center + half + 1].mean()
    return means
