"""The figures of a report. Each function draws one `Figure`, or returns None where there is nothing to draw.

Colours are Okabe and Ito's, which people with colour-blindness tell apart; bars are ± one standard error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from budgetrl.budget.records import Outcome
from budgetrl.report.reading import Estimate, Results, Row
from budgetrl.rewards.shape import Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

P = ParamSpec("P")
T = TypeVar("T")

BLACK = "#000000"
ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

COLUMNS = 3
"""Panels beside each other: at the width of a rendered Markdown page more are too small to read."""
SMOOTHING = 0.06
"""Share of the steps that a training curve's bold line averages over."""
_MODEL_COLOURS = (RED, BLUE)
"""Initial and trained; the last is for a model by itself."""
DPI = 130
PALETTE = 192
HEXAGONS = 34
"""Across the budget-length plane."""
LENGTHS_DRAWN = 500
"""Points of a reward's curve, less one."""
PROGRESSES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in training a reward is drawn."""
_VERDICT_LINES: dict[str, Any] = {"right": "solid", "wrong": (0, (4, 2)), "malformed": (0, (1, 1.5))}
_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Curve:
    """One line of a training panel."""

    key: str
    label: str
    scale: float = 1.0
    noisy: bool = True
    """False for a schedule, which needs no smoothing."""
    zero_is_off: bool = False
    """True if a metric that is always 0 was switched off, and need not be shown."""


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
    Panel("KL to the reference, nats per token", (Curve("kl", "KL", zero_is_off=True),)),
    Panel("Loss", (Curve("loss", "loss"),)),
)
"""In reading order. Left out: panels without a logged metric, and the loss where there is a reward."""


def _styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw or save in our style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import rc_context, rcParamsDefault

        rc: Any = {**rcParamsDefault, **_STYLE}
        with rc_context(rc):
            return draw(*args, **kwargs)

    return styled


@_styled
def training_curves(rows: Sequence[Row]) -> "Figure | None":
    """Small multiples over steps: each step thin, the running mean bold, evaluations as points."""
    panels = [panel for panel in PANELS if any(_is_logged(rows, curve) for curve in panel.curves)]
    if any(panel.title == "Reward" for panel in panels):
        panels = [panel for panel in panels if panel.title != "Loss"]
    if not panels:
        return None
    figure, axes = _small_multiples(len(panels))
    markers = dict(zip(_evaluated(rows), MARKERS, strict=False))
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, rows, markers)
    if markers:
        handles = [_marker(marker, f"held-out problems of {dataset}") for dataset, marker in markers.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


@_styled
def budgets_in_training(models: Mapping[str, Sequence[Row]]) -> "Figure | None":
    """Budget and length over the steps, a line for each model; rows of the same step, of several runs, are averaged."""
    panels = {"Budget, tokens": Curve("budget", "budget"), "Length, tokens": Curve("length", "length")}
    drawn = {model: rows for model, rows in models.items() if any(row.get("budget") is not None for row in rows)}
    if not drawn:
        return None
    figure, axes = _grid(1, 2, width=8.0, height=3.0)
    for ax, (title, curve) in zip(axes, panels.items(), strict=True):
        for (model, rows), colour in zip(drawn.items(), COLOURS, strict=False):
            steps, values = _mean_series(rows, curve)
            ax.plot(steps, values, color=colour, linewidth=0.6, alpha=0.35)
            ax.plot(steps, _running_mean(values), color=colour, label=model)
        ax.set(title=title, xlabel="step")
        ax.set_ylim(bottom=0)
    _legend_below(figure, axes[0])
    return figure


@_styled
def by_level(models: Mapping[str, Results]) -> "Figure | None":
    """Accuracy, length and budget by difficulty, a line for each model."""
    titles = {"accuracy": "Accuracy, %", "length": "Length, tokens", "budget": "Budget, tokens"}
    drawn = [metric for metric in titles if any(_over_levels(r, metric) for r in models.values())]
    if not drawn:
        return None
    figure, axes = _small_multiples(len(drawn), height=2.9)
    levels = sorted({level for results in models.values() for level in results.levels()})
    for ax, metric in zip(axes, drawn, strict=True):
        _draw_levels(ax, models, metric, levels)
        ax.set_title(titles[metric])
        if metric != "accuracy":
            ax.set_ylim(bottom=0)
    _legend_below(figure, axes[0])
    return figure


@_styled
def budget_against_length(rows: Sequence[Row]) -> "Figure | None":
    """How well budgets are kept: where on the plane of budget and length the completions lie."""
    pairs = [(row["budget"], row["length"]) for row in rows if row.get("budget") and row["length"] > 0]
    if not pairs:
        return None
    budgets, lengths = np.array(pairs, dtype=float).T
    figure, (ax,) = _grid(1, 1, width=5.2, height=4.2)
    low, high = 0.8 * np.array([budgets.min(), lengths.min()]).min(), 1.25 * max(budgets.max(), lengths.max())
    _draw_bands(ax, low, high)
    cells = ax.hexbin(
        budgets, lengths, gridsize=HEXAGONS, xscale="log", yscale="log", mincnt=1, cmap="viridis",
        norm="log", extent=(*np.log10([low, high]), *np.log10([low, high])), linewidths=0.2, zorder=3,
    )  # fmt: skip
    cells.set_clim(1, max(2, np.max(np.asarray(cells.get_array()))))
    _plain_log_axis(figure.colorbar(cells, ax=ax, label="completions", shrink=0.85).ax.yaxis)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="budget the model wrote, tokens", ylabel="length, tokens")
    _legend_below(figure, ax)
    _plain_log_ticks(ax)
    return figure


@_styled
def length_control(rows: Sequence[Row]) -> "Figure | None":
    """Length obtained against the budget the user pre-filled, a line for each level."""
    cells = _lengths_by_level_and_budget(rows)
    if not cells:
        return None
    figure, (ax,) = _grid(1, 1, width=5.2, height=4.0)
    budgets = sorted({budget for by_budget in cells.values() for budget in by_budget})
    ax.plot(budgets, budgets, color=BLACK, linestyle="--", linewidth=1, zorder=5, label="as asked")
    for (level, by_budget), colour in zip(sorted(cells.items(), key=_level_order), _ramp(len(cells)), strict=True):
        label = "all problems" if level is None else f"level {level}"
        estimates = {budget: _mean(by_problem) for budget, by_problem in sorted(by_budget.items())}
        _error_line(ax, list(estimates), list(estimates.values()), color=colour, marker="o", label=label)
    ax.set(xscale="log", yscale="log", xlabel="budget pre-filled, tokens", ylabel="mean length obtained, tokens")
    _plain_log_ticks(ax)
    figure.legend(loc="outside right upper")
    return figure


@_styled
def against_limit(models: Mapping[str, Results]) -> "Figure | None":
    """Accuracy over the limit, and over the length that comes of it: cut-offs solid, given budgets dashed."""
    kinds = {"cut off": ("cutoff", Results.cutoffs, "solid"), "budget given": ("budget", Results.budgets, "dashed")}
    figure, axes = _grid(1, 2, width=8.0, height=3.2)
    for index, (model, results) in enumerate(models.items()):
        for kind, (key, limits_of, linestyle) in kinds.items():
            limits = [limit for limit in limits_of(results) if results.get(f"{key}_{limit}/accuracy")]
            accuracies, lengths = (
                [found for limit in limits if (found := results.get(f"{key}_{limit}/{metric}"))]
                for metric in ("accuracy", "length")
            )
            style: dict[str, Any] = {"color": _MODEL_COLOURS[index - len(models)], "linestyle": linestyle}
            style |= {"marker": MARKERS[index], "label": f"{model} model, {kind}" if model else kind}
            if limits:
                _error_line(axes[0], limits, accuracies, 100, **style)
                _error_line(axes[1], [length.value for length in lengths], accuracies, 100, **style)
    if not axes[0].containers:
        return None
    for ax, xlabel in zip(axes, ("limit, tokens", "mean length obtained, tokens"), strict=True):
        ax.set(xscale="log", xlabel=xlabel, ylabel="accuracy, %")
        _plain_log_axis(ax.xaxis)
    _legend_below(figure, axes[0])
    return figure


@_styled
def accuracy_against_length(runs: Mapping[str, Results]) -> "Figure | None":
    """Several runs on one data set: a point each, with both errors, and the front of those that none beats."""
    points = {name: (r.get("length"), r.get("accuracy")) for name, r in runs.items()}
    found = {name: (x, y) for name, (x, y) in points.items() if x and y}
    if not found:
        return None
    figure, (ax,) = _grid(1, 1, width=6.6, height=max(3.6, 0.2 * len(found)))
    for index, (name, (length, accuracy)) in enumerate(found.items()):
        ax.errorbar(
            length.value, 100 * accuracy.value, xerr=length.error, yerr=_times(accuracy.error, 100),
            color=COLOURS[index % len(COLOURS)], marker=MARKERS[index // len(COLOURS) % len(MARKERS)],
            linestyle="none", markersize=5, capsize=2, elinewidth=1, label=name,
        )  # fmt: skip
    front = pareto_front([(x.value, 100 * y.value) for x, y in found.values()])
    if len(front) > 1:
        ax.plot(*zip(*front, strict=True), color="#999999", linewidth=1, zorder=1, label="none is better in both")
    ax.set(xlabel="mean length, tokens", ylabel="accuracy, %")
    ax.set_xlim(left=0)
    figure.legend(loc="outside right upper")
    return figure


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


@_styled
def against_coefficient(key: str, lines: Mapping[str, Mapping[float, Results]]) -> "Figure":
    """Accuracy and length over the values of one key of the configuration, with errors; a line for each label."""
    figure, axes = _grid(1, 2, width=8.0, height=3.0)
    for ax, (metric, title, scale) in zip(axes, _AGAINST_COEFFICIENT, strict=True):
        for index, (label, by_value) in enumerate(lines.items()):
            found = {x: estimate for x, results in sorted(by_value.items()) if (estimate := results.get(metric))}
            style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "label": label}
            _error_line(ax, list(found), list(found.values()), scale, **style)
        ax.set(title=title, xlabel=key)
    axes[1].set_ylim(bottom=0)
    if len(lines) > 1:
        _legend_below(figure, axes[0])
    return figure


_AGAINST_COEFFICIENT = (("accuracy", "Accuracy, %", 100.0), ("length", "Length, tokens", 1.0))


@_styled
def reward_shape(shape: Shape, longest: int) -> "Figure":
    """Reward against length up to `longest` tokens: a line for each verdict, a colour for each moment of training.

    Where the rest of the group counts, or a budget, a tag or something remembered, a line above says what it is here.
    Malformed responses are drawn where they earn something else than wrong ones.
    """
    figure, (ax,) = _grid(1, 1, width=6.4, height=4.0)
    scene = _Scene(shape.within(longest), longest)
    lengths = sorted({longest * n // LENGTHS_DRAWN for n in range(LENGTHS_DRAWN + 1)})
    moments = _moments({progress: scene.curves(lengths, progress) for progress in PROGRESSES})
    verdicts = next(iter(moments.values()))
    for curves, colour in zip(moments.values(), COLOURS, strict=False):
        for verdict, rewards in curves.items():
            ax.plot(lengths, rewards, color=colour, linestyle=_VERDICT_LINES[verdict])
    if scene.budget:
        ax.axvline(scene.budget, color="#999999", linewidth=0.9, zorder=1)
    ax.set_title(shape.name, pad=6 + 12 * len(scene.notes()))
    ax.text(0, 1.015, "\n".join(scene.notes()), transform=ax.transAxes, va="bottom", fontsize=8, linespacing=1.25)
    ax.set(xlabel="length, tokens", ylabel="reward", xlim=(0, longest))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    handles = [_line(BLACK if moments.keys() != {""} else BLUE, _VERDICT_LINES[name], name) for name in verdicts]
    handles += [_line(colour, "solid", label) for label, colour in zip(moments, COLOURS, strict=False) if label]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if len(handles) <= 6 else 4)
    return figure


@_styled
def reward_grid(shapes: Sequence[Shape], longest: int) -> "Figure":
    """Several rewards at the end of training beside each other: a panel each, a line for each verdict."""
    figure, axes = _small_multiples(len(shapes))
    lengths = sorted({longest * n // LENGTHS_DRAWN for n in range(LENGTHS_DRAWN + 1)})
    for ax, shape in zip(axes, shapes, strict=True):
        scene = _Scene(shape.within(longest), longest)
        for (verdict, rewards), colour in zip(scene.curves(lengths, 1.0).items(), COLOURS, strict=False):
            ax.plot(lengths, rewards, color=colour, linestyle=_VERDICT_LINES[verdict])
        if scene.budget:
            ax.axvline(scene.budget, color="#999999", linewidth=0.9, zorder=1)
        ax.set(title=shape.name, xlim=(0, longest), xlabel="length, tokens", ylabel="reward")
        ax.xaxis.set_major_formatter("{x:,.0f}")
    handles = [
        _line(colour, style, name) for (name, style), colour in zip(_VERDICT_LINES.items(), COLOURS, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@_styled
def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG of modest size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from PIL import Image

    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    # A palette makes a third of the size, and none of these drawings has more colours than it holds.
    Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


@_styled
def save_pdf(figure: "Figure", path: Path) -> Path:
    """Write a PDF, the same to the byte for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"CreationDate": None})
    return path


@dataclass(frozen=True)
class _Scene:
    """A response to draw, and what stands around it."""

    shape: Shape
    longest: int

    @property
    def budget(self) -> int | None:
        return self.longest // 2 if self.shape.needs_format in ("budget", "prompt_budget") else None

    @property
    def others(self) -> list[Outcome]:
        """The rest of the group."""
        quarter = self.longest // 4
        return [
            self._outcome("right", quarter),
            self._outcome("right", 2 * quarter),
            self._outcome("wrong", 3 * quarter),
        ]

    def curves(self, lengths: Sequence[int], progress: float) -> "Curves":
        """The rewards of each verdict; none of malformed responses if they are those of wrong ones."""
        curves = {
            verdict: [self._reward(verdict, length, progress, self.others) for length in lengths]
            for verdict in _VERDICT_LINES
        }
        if curves["malformed"] == curves["wrong"]:
            del curves["malformed"]
        return curves

    def notes(self) -> list[str]:
        """What the curves hold for, a line each."""
        notes = []
        if self.budget:
            notes.append(f"budget {self.budget:,} tokens{', within b_max' if self.shape.needs_b_max else ''}")
        if self.shape.needs_format == "difficulty":
            notes.append("every response tagged easy")
        if self._is_relative():
            first, second, third = (f"{outcome.length:,}" for outcome in self.others)
            notes.append(f"the others of the group: right with {first} and {second} tokens, wrong with {third}")
        if moves := self.shape.controller().moves:
            held = {name: getattr(self.shape, name) for name in moves}
            values = (f"{name} {value if value not in (None, {}) else 'none'}" for name, value in held.items())
            notes.append(f"learnt so far: {', '.join(values)}")
        return notes

    def _is_relative(self) -> bool:
        return any(
            self._reward(verdict, self.longest * n // 8, 1.0, self.others)
            != self._reward(verdict, self.longest * n // 8, 1.0, [])
            for verdict in ("right", "wrong")
            for n in range(9)
        )

    def _reward(self, verdict: str, length: int, progress: float, others: Sequence[Outcome]) -> float:
        return self.shape([self._outcome(verdict, length), *others], progress)[0]

    def _outcome(self, verdict: str, length: int) -> Outcome:
        tag = True if self.shape.needs_format == "difficulty" and verdict != "malformed" else None
        return Outcome(verdict != "malformed", verdict == "right", length, self.budget, easy=tag, problem_id=EXAMPLE)


EXAMPLE = "example"
"""Problem id of the responses drawn, for rewards that remember something of each problem."""
Curves = dict[str, list[float]]


def _moments(curves: Mapping[float, Curves]) -> dict[str, Curves]:
    """The curves that differ, by the share of training over which they hold; no label if they always do."""
    stretches = [(list(same), drawn) for drawn, same in groupby(curves, key=lambda progress: curves[progress])]
    if len(stretches) == 1:
        return {"": stretches[0][1]}
    return {_stretch(shares): drawn for shares, drawn in stretches}


def _stretch(shares: Sequence[float]) -> str:
    """
    >>> _stretch([0.25]), _stretch([0.5, 0.75, 1.0])
    ('25 %', '50 to 100 % of training')
    """
    first, last = round(100 * shares[0]), round(100 * shares[-1])
    stretch = f"{first} %" if first == last else f"{first} to {last} %"
    return f"{stretch} of training" if last == 100 else stretch


def _line(colour: str, style: Any, label: str) -> "Line2D":
    """A legend entry."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, label=label)


def _draw_panel(ax: "Axes", panel: Panel, rows: Sequence[Row], markers: Mapping[str, str]) -> None:
    several = len(panel.curves) > 1
    for curve, colour in zip(panel.curves, COLOURS, strict=False):
        steps, values = _series(rows, curve)
        if not steps.size:
            continue
        if curve.noisy:
            ax.plot(steps, values, color=colour, linewidth=0.6, alpha=0.35)
        values = _running_mean(values) if curve.noisy else values
        ax.plot(steps, values, color=colour, label=curve.label if several else None)
        for dataset, marker in markers.items():
            _draw_evaluations(ax, rows, f"eval/{dataset}/{curve.key}", curve.scale, color=colour, marker=marker)
    ax.set_title(panel.title, pad=19)
    ax.set_xlabel("step")
    if panel.title.endswith("%"):
        _limit_to_shares(ax)
    if several:
        _legend_above(ax)


def _limit_to_shares(ax: "Axes") -> None:
    """At least five points of range, so that what does not move looks it, and no more than there can be."""
    low, high = ax.get_ylim()
    spare = max(0.0, 5 - (high - low)) / 2
    ax.set_ylim(max(low - spare, -2), min(high + spare, 102))


def _draw_evaluations(ax: "Axes", rows: Sequence[Row], key: str, scale: float, **style: Any) -> None:
    found = [(row["step"], Estimate(row[key], row.get(f"{key}_se"))) for row in rows if row.get(key) is not None]
    steps, estimates = [step for step, _ in found], [estimate for _, estimate in found]
    _error_line(ax, steps, estimates, scale, linestyle="none", markeredgecolor="white", zorder=4, **style)


def _marker(marker: str, label: str) -> "Line2D":
    """A legend entry for a kind of point that has different colours in different panels."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=BLACK, marker=marker, linestyle="none", markersize=4.5, label=label)


def _evaluated(rows: Sequence[Row]) -> list[str]:
    """Data sets that the run was evaluated on while it trained: `eval/<dataset>/<metric>`."""
    keys = {key for row in rows for key in row if key.startswith("eval/") and key.endswith("/accuracy")}
    return sorted(key.removeprefix("eval/").removesuffix("/accuracy") for key in keys)


def _draw_levels(ax: "Axes", models: Mapping[str, Results], metric: str, levels: Sequence[int]) -> None:
    """Levels stand at equal distances; models are moved apart a little so that their bars do not overlap."""
    for index, (model, results) in enumerate(models.items()):
        found = _over_levels(results, metric)
        at = [levels.index(level) + 0.08 * (index - (len(models) - 1) / 2) for level in found]
        style = {"color": _MODEL_COLOURS[index - len(models)], "marker": MARKERS[index], "label": model}
        _error_line(ax, at, list(found.values()), 100 if metric == "accuracy" else 1, **style)
    ax.set_xticks(range(len(levels)), [str(level) for level in levels])
    ax.set_xlabel("level")


def _draw_bands(ax: "Axes", low: float, high: float) -> None:
    ends = np.array([low, high])
    for share, shade in ((0.5, "#eeeeee"), (0.25, "#d9d9d9")):
        label = f"within {share:.0%} of the budget".replace("%", " %")
        ax.fill_between(ends, (1 - share) * ends, (1 + share) * ends, color=shade, linewidth=0, label=label, zorder=1)
    ax.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="length = budget", zorder=2)


def _legend_above(ax: "Axes") -> None:
    """Between title and panel, where no data can be."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.97), "borderpad": 0.2}
    legend = ax.legend(ncols=3, handlelength=1.2, columnspacing=1.0, **place)
    legend.set_in_layout(False)  # a long legend must not make its panel narrower than the others


def _legend_below(figure: "Figure", ax: "Axes") -> None:
    """Below all panels, with the entries of one of them."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))


def _error_line(
    ax: "Axes", at: Sequence[float], estimates: Sequence[Estimate], scale: float = 1.0, **style: Any
) -> None:
    values = [scale * estimate.value for estimate in estimates]
    errors = [scale * (estimate.error or 0.0) for estimate in estimates]
    ax.errorbar(at, values, yerr=errors, markersize=4.5, capsize=2, elinewidth=1, **style)


def _is_logged(rows: Sequence[Row], curve: Curve) -> bool:
    _, values = _series(rows, curve)
    return bool(values.any()) if curve.zero_is_off else values.size > 0


def _series(rows: Sequence[Row], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values where the metric was logged and finite."""
    found = [(row["step"], curve.scale * row[curve.key]) for row in rows if row.get(curve.key) is not None]
    steps, values = np.array(found, dtype=float).reshape(-1, 2).T
    return steps, values


def _mean_series(rows: Sequence[Row], curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The steps, each once, and the mean of what was logged at it."""
    steps, values = _series(rows, curve)
    distinct, at = np.unique(steps, return_inverse=True)
    return distinct, np.bincount(at, values) / np.bincount(at)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred; the window shrinks at the ends."""
    half = max(1, round(SMOOTHING * len(values) / 2))
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _over_levels(results: Results, metric: str) -> dict[int, Estimate]:
    found = {level: results.get(f"level_{level}/{metric}") for level in results.levels()}
    return {level: estimate for level, estimate in found.items() if estimate is not None}


def _lengths_by_level_and_budget(rows: Sequence[Row]) -> dict[Any, dict[int, dict[str, list[int]]]]:
    """Lengths by level, pre-filled budget and problem."""
    cells: dict[Any, dict[int, dict[str, list[int]]]] = {}
    for row in rows:
        if row.get("prefilled"):
            by_problem = cells.setdefault(row.get("level"), {}).setdefault(row["prefilled"], {})
            by_problem.setdefault(row["problem_id"], []).append(row["length"])
    return cells


def _mean(by_problem: Mapping[str, Sequence[float]]) -> Estimate:
    """The mean over problem means, with its error: samples of one problem are not independent."""
    means = [np.mean(values) for values in by_problem.values()]
    error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
    return Estimate(float(np.mean(means)), error)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _level_order(item: tuple[Any, Any]) -> tuple[bool, float]:
    return item[0] is None, item[0] or 0


def _ramp(count: int) -> list[Any]:
    """Colours in order from dark to light, for levels."""
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, 0.9, count)]


def _plain_log_ticks(ax: "Axes") -> None:
    for axis in (ax.xaxis, ax.yaxis):
        _plain_log_axis(axis)


def _plain_log_axis(axis: "Axis") -> None:
    """10, 20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _small_multiples(count: int, height: float = 2.35) -> "tuple[Figure, list[Axes]]":
    columns = min(COLUMNS, count)
    return _grid(-(-count // columns), columns, width=3.25 * columns, height=height, count=count)


def _grid(
    rows: int, columns: int, width: float, height: float, count: int | None = None
) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` panels, each `height` inches high. Not pyplot's: no window, no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count or rows * columns)]
