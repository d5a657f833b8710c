"""Number labels beside points, placed so that they do not cover each other or a point as long as there is room."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

SIZE = 8.0
"""Font size in points. All lengths in this module are in points, 72 to the inch."""
DIGIT, HEIGHT = 0.64 * SIZE, 1.2 * SIZE
"""Width of a digit, and height of a label with its line spacing."""
NEAR, *FAR = 0.5, 5.0, 12.0, 20.0, 30.0, 42.0, 56.0
"""Possible gaps between a marker and its label. All but the nearest get a line from the label to the point."""
SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Possible directions (x, y) from a point to its label, the preferred ones first."""
HIDDEN, ASTRAY, CROSSED = 1000.0, 15.0, 6.0
"""Costs added to a label's gap: if it covers a label or marker, is closer to another point, or covers an error bar."""


def number_points(figure: "Figure", ax: "Axes", bars: Sequence["ErrorbarContainer"]) -> None:
    """Write 1, 2, ... beside the points of `bars`, each of which holds one point.

    Must be called last: labels are placed around everything else in the figure.
    """
    figure.draw_without_rendering()  # runs the layout, which determines the distances between points
    markers: list[Any] = []
    centers: list[Any] = []
    radii: list[float] = []
    widths: list[float] = []
    segments: list[np.ndarray] = []
    for number, bar in enumerate(bars, start=1):
        # An ErrorbarContainer holds the marker, the caps, and the bars as collections of line segments.
        marker, _, lines = bar.lines
        markers.append(marker)
        centers.append(np.asarray(marker.get_xydata())[0])
        radii.append(marker.get_markersize() / 2 + 1)  # one point of space around the marker
        widths.append(DIGIT * len(str(number)))
        for line in lines:
            for segment in line.get_segments():
                segments.append(_box(_in_points(ax, segment)))
    frame = _box(ax.get_window_extent().get_points() * 72 / figure.dpi)
    boxes = np.array(segments).reshape(-1, 4)  # keeps the shape (0, 4) if there are no bars

    placed = place(_in_points(ax, np.array(centers)), np.array(radii), np.array(widths), boxes, frame)
    for number, (offset, is_far) in enumerate(placed, start=1):
        center, radius = centers[number - 1], radii[number - 1]
        color = darker(markers[number - 1].get_color())
        leader = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": radius}
        label = ax.annotate(
            str(number), tuple(center), offset, textcoords="offset points", ha="center", va="center", color=color,
            fontsize=SIZE, arrowprops=leader if is_far else None, zorder=4,
        )  # fmt: skip
        label.set_in_layout(False)  # otherwise the layout would move the points again


def _in_points(ax: "Axes", positions: Any) -> np.ndarray:
    """Convert positions from data coordinates to points on the page."""
    return ax.transData.transform(positions) * 72 / ax.figure.dpi


def place(
    points: np.ndarray, radii: np.ndarray, widths: np.ndarray, bars: np.ndarray, frame: np.ndarray
) -> list[tuple[tuple[float, float], bool]]:
    """Place a label beside each point, one after the other, each where its cost is lowest.

    Args:
        points: (N, 2) centers of the markers, in points like everything here.
        radii: (N,) radii of the markers.
        widths: (N,) widths of the labels.
        bars: (M, 4) boxes of the error bars: left, bottom, right, top.
        frame: (4,) box that labels must stay in.

    Returns:
        For each label its center's offset (x, y) from the point, and whether it is so far that it needs a line.
    """
    gaps = np.array([gap for _, gap in _PLACES])
    # Boxes that no label may cover: first the markers, then also every label already placed.
    taken = np.hstack([points - radii[:, None], points + radii[:, None]])
    placed = []
    for point, radius, width in zip(points, radii, widths, strict=True):
        size = np.array([width, HEIGHT])
        offsets = [side * (size / 2 + radius + gap) for side, gap in _PLACES]
        centers = point + offsets
        boxes = np.hstack([centers - size / 2, centers + size / 2])
        outside = np.any(boxes[:, :2] < frame[:2], axis=1) | np.any(boxes[:, 2:] > frame[2:], axis=1)
        costs = HIDDEN * (_count_overlaps(boxes, taken) + outside) + CROSSED * _count_overlaps(boxes, bars)
        costs += ASTRAY * _closer_to_another(centers, point, points) + gaps
        best = int(np.argmin(costs))  # the first of equal costs: the preferred side
        taken = np.vstack([taken, boxes[best]])
        x, y = centers[best] - point
        placed.append(((float(x), float(y)), _PLACES[best][1] > NEAR))
    return placed


_PLACES = [(np.array(side), gap) for gap, side in product((NEAR, *FAR), SIDES)]
"""Possible places of a label, as direction and gap, the nearest first."""


def darker(color: Any) -> tuple[float, float, float]:
    """Return the same hue, dark enough for small letters on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.7 * red, 0.7 * green, 0.7 * blue


def _box(ends: np.ndarray) -> np.ndarray:
    """Return the box (left, bottom, right, top) around the two ends of a line."""
    return np.concatenate([ends.min(axis=0), ends.max(axis=0)])


def _closer_to_another(centers: np.ndarray, point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return, for labels at `centers` (N, 2), whether another of `points` is closer than their own `point`."""
    nearest = np.linalg.norm(centers[:, None] - points, axis=2).min(axis=1)
    return np.linalg.norm(centers - point, axis=1) > nearest


def _count_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how many of `others` (M, 4) each of `boxes` (N, 4) overlaps."""
    # Two boxes are apart if, in either direction, one starts after the other ends.
    apart = np.any(boxes[:, None, :2] > others[None, :, 2:], axis=2)
    apart |= np.any(others[None, :, :2] > boxes[:, None, 2:], axis=2)
    return np.sum(~apart, axis=1)
