"""Shared parts of all figures: style, panels, error bars, legends, ticks and files.

Colors are the palette of Okabe and Ito, which color-blind readers can distinguish. Error bars are ± one standard error.
matplotlib is imported inside functions: reading runs and planning must not pay for it.
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
LINE_STYLES = ("solid", "dashed", "dotted", "dashdot")

MAX_COLUMNS = 3
"""Maximum panels per row: more are too small to read at the width of a rendered Markdown page."""
DPI = 130
PALETTE_SIZE = 192
"""Number of colors in a PNG."""
LEGEND_LETTER, LEGEND_HANDLE = 0.07, 0.6
"""Width in inches of a letter in a legend, and of the sample line with the gaps beside it."""
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
    "pdf.fonttype": 42,  # TrueType; publishers reject matplotlib's default, Type 3
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to draw or save in our style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import rc_context, rcParamsDefault

        # Start from the library's defaults: the user's settings would otherwise show in all we do not set.
        rc: Any = {**rcParamsDefault, **_STYLE}
        with rc_context(rc):
            return draw(*args, **kwargs)

    return styled


def color_and_marker(index: int) -> tuple[str, str]:
    """Return the color and marker of the line or point at `index`.

    Both differ from those of the neighbors, and no pair repeats within 49.

    >>> color_and_marker(0), color_and_marker(7)[1], len({color_and_marker(index) for index in range(49)})
    (('#0072B2', 'o'), 's', 49)
    """
    # Each round through the colors shifts the markers by one, so that a color comes with another marker.
    marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
    return COLORS[index % len(COLORS)], marker


def small_multiples(count: int, height: float = 2.35) -> "tuple[Figure, list[Axes]]":
    """Return a figure with `count` panels in rows of at most `MAX_COLUMNS`; `height` is that of a row, in inches."""
    columns = min(MAX_COLUMNS, count)
    rows = -(-count // columns)  # rounded up
    return grid(rows, columns, width=3.25 * columns, height=height, count=count)


def grid(rows: int, columns: int, width: float, height: float, count: int | None = None) -> "tuple[Figure, list[Axes]]":
    """Return a figure with `count` panels (default: all of the grid). `width` is in inches, as is a row's `height`."""
    from matplotlib.figure import Figure

    # Not pyplot, which keeps global state and may open a window.
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    panels = count or rows * columns
    return figure, [figure.add_subplot(rows, columns, position) for position in range(1, panels + 1)]


def error_line(
    ax: "Axes", at: Sequence[float], estimates: Sequence[Estimate], scale: float = 1.0, **style: Any
) -> None:
    """Draw a line through estimates multiplied by `scale`, with error bars of one standard error."""
    values: list[float] = []
    errors: list[float] = []
    for estimate in estimates:
        values.append(scale * estimate.value)
        # An estimate without an error gets a bar of length 0: matplotlib does not accept None among numbers.
        errors.append(scale * (estimate.error or 0.0))
    ax.errorbar(at, values, yerr=errors, **{"markersize": 4.5, "capsize": 2, "elinewidth": 1, **style})


def legend_line(color: str, style: Any, label: str) -> "Line2D":
    """Return a legend entry for a kind of line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=style, label=label)


def legend_marker(marker: str, label: str, color: str = BLACK, filled: bool = True) -> "Line2D":
    """Return a legend entry for a kind of point; leave it black if its color differs between panels."""
    from matplotlib.lines import Line2D

    inside = color if filled else "none"
    return Line2D(
        [], [], color=color, marker=marker, markerfacecolor=inside, linestyle="none", markersize=4.5, label=label
    )


def legend_above(ax: "Axes") -> None:
    """Put a legend between the title and the panel, where it cannot cover data."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.97), "borderpad": 0.2}
    legend = ax.legend(ncols=3, handlelength=1.2, columnspacing=1.0, **place)
    legend.set_in_layout(False)  # otherwise a long legend makes its panel narrower than the others


def legend_below(figure: "Figure", ax: "Axes") -> None:
    """Put a legend with the entries of `ax` below all panels."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns_that_fit(figure, labels))


def columns_that_fit(figure: "Figure", labels: Sequence[str]) -> int:
    """Return how many columns, four at most, a legend below the figure can have without being wider than it."""
    widest = LEGEND_HANDLE + LEGEND_LETTER * max(map(len, labels))
    most = min(4, len(labels), max(1, int(figure.get_figwidth() / widest)))
    # Balance the columns: take the rows that `most` columns need, then the fewest columns with that many rows.
    # `-(-a // b)` rounds up.
    rows = -(-len(labels) // most)
    return -(-len(labels) // rows)


def plain_log_ticks(ax: "Axes") -> None:
    """Label both logarithmic axes with plain numbers; see `plain_log_axis`."""
    for axis in (ax.xaxis, ax.yaxis):
        plain_log_axis(axis)


def plain_log_axis(axis: "Axis") -> None:
    """Label a logarithmic axis with 10, 20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def save(figure: "Figure", path: Path) -> Path:
    """Write a small PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from PIL import Image

    full_color = BytesIO()
    figure.savefig(full_color, format="png", dpi=DPI)
    # A palette reduces the file to about a third, and our figures have few enough colors for it.
    Image.open(full_color).convert("RGB").quantize(PALETTE_SIZE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


@styled
def save_pdf(figure: "Figure", path: Path) -> Path:
    """Write a PDF and return its path. The same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"CreationDate": None})  # the date would differ each time
    return path
