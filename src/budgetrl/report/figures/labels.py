"""Numbers beside points: none upon another, or upon a point, wherever there is room."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

SIZE = 8.0
"""Size of the font in points, as are all lengths here."""
DIGIT, HEIGHT = 0.64 * SIZE, 1.2 * SIZE
"""A digit's width, and a line's height with what sets it apart from the next."""
NEAR, *FAR = 0.5, 5.0, 12.0, 20.0, 30.0, 42.0, 56.0
"""From a marker to the edges of its number. What does not stand near has a line that leads to it."""
SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
"""In the order in which they are tried."""
HIDDEN, ASTRAY, CROSSED = 1000.0, 15.0, 6.0
"""The price, in points of distance, of a number upon another or upon a point, nearer to another point, upon a bar."""


def number_points(figure: "Figure", ax: "Axes", bars: Sequence["ErrorbarContainer"]) -> None:
    """Write 1, 2, ... beside the points of `bars`, a point each.

    The last thing to draw: numbers stand where all the rest leaves room.
    """
    figure.draw_without_rendering()  # the layout decides how far points are from each other
    markers: list[Any] = []
    centers: list[Any] = []
    radii: list[float] = []
    widths: list[float] = []
    segments: list[np.ndarray] = []
    for number, bar in enumerate(bars, start=1):
        # An error bar holds the marker, the caps at the ends of the bars, and the bars as collections of segments.
        marker, _, lines = bar.lines
        markers.append(marker)
        centers.append(np.asarray(marker.get_xydata())[0])
        radii.append(marker.get_markersize() / 2 + 1)  # a point of air around the marker
        widths.append(DIGIT * len(str(number)))
        for line in lines:
            for segment in line.get_segments():
                segments.append(_box(_in_points(ax, segment)))
    frame = _box(ax.get_window_extent().get_points() * 72 / figure.dpi)
    boxes = np.array(segments).reshape(-1, 4)  # also where there is no bar at all
    placed = place(_in_points(ax, np.array(centers)), np.array(radii), np.array(widths), boxes, frame)
    for number, (offset, is_far) in enumerate(placed, start=1):
        center, radius = centers[number - 1], radii[number - 1]
        color = darker(markers[number - 1].get_color())
        lead = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": radius}
        label = ax.annotate(
            str(number), tuple(center), offset, textcoords="offset points", ha="center", va="center", color=color,
            fontsize=SIZE, arrowprops=lead if is_far else None, zorder=4,
        )  # fmt: skip
        label.set_in_layout(False)  # or the layout would move the points


def _in_points(ax: "Axes", positions: Any) -> np.ndarray:
    """Positions in the data's units as points on the page; an inch has 72 of them."""
    return ax.transData.transform(positions) * 72 / ax.figure.dpi


def place(
    points: np.ndarray, radii: np.ndarray, widths: np.ndarray, bars: np.ndarray, frame: np.ndarray
) -> list[tuple[tuple[float, float], bool]]:
    """The offset of each point's label from it, and whether it is far; one after the other, each where it costs least.

    `bars` (N, 4) and `frame` (4,) are boxes: left, bottom, right, top. All in points.
    """
    gaps = np.array([gap for _, gap in _PLACES])
    # Boxes that no number may cover: at first the markers, then each number that has found its place as well.
    taken = np.hstack([points - radii[:, None], points + radii[:, None]])
    placed = []
    for point, radius, width in zip(points, radii, widths, strict=True):
        size = np.array([width, HEIGHT])
        offsets = [side * (size / 2 + radius + gap) for side, gap in _PLACES]
        centers = point + offsets
        boxes = np.hstack([centers - size / 2, centers + size / 2])
        outside = np.any(boxes[:, :2] < frame[:2], axis=1) | np.any(boxes[:, 2:] > frame[2:], axis=1)
        costs = HIDDEN * (_overlaps(boxes, taken) + outside) + CROSSED * _overlaps(boxes, bars)
        costs += ASTRAY * _are_astray(centers, point, points) + gaps
        best = int(np.argmin(costs))  # of several that cost the same the first, which is the nearest
        taken = np.vstack([taken, boxes[best]])
        x, y = centers[best] - point
        placed.append(((float(x), float(y)), _PLACES[best][1] > NEAR))
    return placed


_PLACES = [(np.array(side), gap) for gap, side in product((NEAR, *FAR), SIDES)]
"""Where a number can stand: on which side of its point, and how far from it."""


def darker(color: Any) -> tuple[float, float, float]:
    """The same hue, dark enough to read small letters in it on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = (0.7 * part for part in to_rgb(color))
    return red, green, blue


def _box(ends: np.ndarray) -> np.ndarray:
    """The box around the two ends of a line: left, bottom, right, top."""
    return np.concatenate([ends.min(axis=0), ends.max(axis=0)])


def _are_astray(centers: np.ndarray, point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether labels at `centers` (N, 2) look like those of other points than `point`."""
    nearest = np.linalg.norm(centers[:, None] - points, axis=2).min(axis=1)
    return np.linalg.norm(centers - point, axis=1) > nearest


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of `others` (M, 4) each of `boxes` (N, 4) touches."""
    # Two boxes do not touch if one begins, in any direction, where the other has ended.
    apart = np.any(boxes[:, None, :2] > others[None, :, 2:], axis=2)
    apart |= np.any(others[None, :, :2] > boxes[:, None, 2:], axis=2)
    return np.sum(~apart, axis=1)
