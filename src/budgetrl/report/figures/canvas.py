"""What all figures have in common: style, panels, legends, error bars, and files.

Colors are Okabe and Ito's, which people with color-blindness tell apart; bars are ± one standard error.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from budgetrl.metrics.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

P = ParamSpec("P")
T = TypeVar("T")

BLACK = "#000000"
ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("solid", "dashed", "dotted", "dashdot")

COLUMNS = 3
"""Panels beside each other: at the width of a rendered Markdown page more are too small to read."""
DPI = 130
PALETTE = 192
LEGEND_LETTER, LEGEND_HANDLE = 0.07, 0.6
"""Inches that a letter takes in a legend, and what stands beside a label."""
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
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw or save in our style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import rc_context, rcParamsDefault

        rc: Any = {**rcParamsDefault, **_STYLE}
        with rc_context(rc):
            return draw(*args, **kwargs)

    return styled


def color_and_marker(index: int) -> tuple[str, str]:
    """Color and marker of a line or point: both differ from its neighbors', and no pair comes twice in 49.

    >>> color_and_marker(0), color_and_marker(7)[1], len({color_and_marker(index) for index in range(49)})
    (('#0072B2', 'o'), 's', 49)
    """
    return COLORS[index % len(COLORS)], MARKERS[(index + index // len(COLORS)) % len(MARKERS)]


def small_multiples(count: int, height: float = 2.35) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` panels in rows of at most `COLUMNS`."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)  # rounded up
    return grid(rows, columns, width=3.25 * columns, height=height, count=count)


def grid(rows: int, columns: int, width: float, height: float, count: int | None = None) -> "tuple[Figure, list[Axes]]":
    """A figure with `count` panels, each `height` inches high. Not pyplot's: no window, no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    panels = count or rows * columns
    return figure, [figure.add_subplot(rows, columns, place) for place in range(1, panels + 1)]


def error_line(
    ax: "Axes", at: Sequence[float], estimates: Sequence[Estimate], scale: float = 1.0, **style: Any
) -> None:
    """Draw a line through estimates, `scale` times each, with bars of one standard error."""
    values = [scale * estimate.value for estimate in estimates]
    # No bar for an estimate without an error: matplotlib takes a 0 for that, but no None among numbers.
    errors = [scale * (estimate.error or 0.0) for estimate in estimates]
    ax.errorbar(at, values, yerr=errors, **{"markersize": 4.5, "capsize": 2, "elinewidth": 1, **style})


def legend_line(color: str, style: Any, label: str) -> "Line2D":
    """A legend entry."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=style, label=label)


def legend_marker(marker: str, label: str, color: str = BLACK, filled: bool = True) -> "Line2D":
    """A legend entry for a kind of point; black if it has different colors in different panels."""
    from matplotlib.lines import Line2D

    inside = color if filled else "none"
    return Line2D(
        [], [], color=color, marker=marker, markerfacecolor=inside, linestyle="none", markersize=4.5, label=label
    )


def legend_above(ax: "Axes") -> None:
    """Put a legend between title and panel, where no data can be."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.97), "borderpad": 0.2}
    legend = ax.legend(ncols=3, handlelength=1.2, columnspacing=1.0, **place)
    legend.set_in_layout(False)  # a long legend must not make its panel narrower than the others


def legend_below(figure: "Figure", ax: "Axes") -> None:
    """Put a legend below all panels, with the entries of one of them."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_that_fit(figure, labels))


def columns_that_fit(figure: "Figure", labels: Sequence[str]) -> int:
    """Columns of a legend as wide as a figure: four at most, fewer where labels are long, all of about one height."""
    widest = LEGEND_HANDLE + LEGEND_LETTER * max(map(len, labels))
    most = min(4, len(labels), max(1, int(figure.get_figwidth() / widest)))
    # As many rows as `most` columns need, then no more columns than fill these rows. `-(-a // b)` rounds up.
    rows = -(-len(labels) // most)
    return -(-len(labels) // rows)


def plain_log_ticks(ax: "Axes") -> None:
    """Write the ticks of both logarithmic axes as plain numbers (see `plain_log_axis`)."""
    for axis in (ax.xaxis, ax.yaxis):
        plain_log_axis(axis)


def plain_log_axis(axis: "Axis") -> None:
    """Write ticks as 10, 20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG of modest size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from PIL import Image

    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    # A palette makes a third of the size, and none of these drawings has more colors than it holds.
    Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


@styled
def save_pdf(figure: "Figure", path: Path) -> Path:
    """Write a PDF, the same to the byte for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"CreationDate": None})
    return path
