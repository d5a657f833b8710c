"""Figures: whether what they show can be told apart, in color or without."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from budgetrl.metrics.results import Results
from budgetrl.report import figures
from budgetrl.report.figures.canvas import COLORS
from budgetrl.report.figures.labels import HEIGHT, place
from budgetrl.rewards.registry import reward_class


def _contrast_to_white(color: Any) -> float:
    """As WCAG 2 defines it."""
    parts = np.array(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return 1.05 / (float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)


def _lines(ax: Any) -> dict[str, Any]:
    """The line of each entry of a panel with errors."""
    return {bars.get_label(): bars.lines[0] for bars in ax.containers}


# Length control


def _controlled(levels: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"problem_id": str(problem), "prefilled": budget, "level": level, "length": budget + level + problem}
        for problem in range(3)
        for budget in (20, 50)
        for level in levels
    ]


def test_levels_are_told_apart_by_marker_and_by_lightness_in_their_order() -> None:
    figure = figures.length_control(_controlled((16, 2, 12, 3, 8, 4, 6)))
    assert figure is not None
    lines = _lines(figure.axes[0])
    assert [*lines] == [f"level {level}" for level in (2, 3, 4, 6, 8, 12, 16)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["length = budget", *lines]
    assert len({line.get_marker() for line in lines.values()}) == 7
    contrasts = [_contrast_to_white(line.get_color()) for line in lines.values()]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[-1] > 2.5


def test_the_points_of_levels_stand_apart_around_the_budget() -> None:
    figure = figures.length_control(_controlled((1, 2, 3)))
    assert figure is not None
    at = np.array([line.get_xdata() for line in _lines(figure.axes[0]).values()], dtype=float)
    assert np.all(np.diff(at, axis=0) > 0)
    assert np.allclose(at[1], [20, 50])
    assert np.allclose(at, at[1], rtol=0.05)


# Limits


def _limited(accuracy: float) -> Results:
    return Results.parse(
        {
            f"{kind}_{limit}/{metric}": value
            for kind in ("cutoff", "budget")
            for limit in (32, 64)
            for metric, value in (("accuracy", accuracy), ("length", 0.9 * limit))
        }
    )


def test_cut_offs_are_filled_and_given_budgets_hollow_and_models_differ_in_marker() -> None:
    figure = figures.accuracy_against_limit({"initial": _limited(0.5), "trained": _limited(0.6)})
    assert figure is not None
    for ax in figure.axes:
        lines = _lines(ax)
        looks = {label: (line.get_color(), line.get_marker()) for label, line in lines.items()}
        for model in ("initial", "trained"):
            cut, given_budget = lines[f"{model} model, cutoff"], lines[f"{model} model, given budget"]
            assert cut.get_markerfacecolor() == cut.get_color()
            assert given_budget.get_markerfacecolor() == "white"
            assert looks[f"{model} model, cutoff"] == looks[f"{model} model, given budget"]
        assert all(a != b for a, b in zip(*(looks[f"{m} model, cutoff"] for m in ("initial", "trained")), strict=True))


def test_each_panel_of_limits_says_what_it_shows() -> None:
    figure = figures.accuracy_against_limit({"": _limited(0.5)})
    assert figure is not None
    assert [(ax.get_title("left"), ax.get_xlabel()) for ax in figure.axes] == [
        ("Accuracy against token limit", "Cutoff or given budget (tokens)"),
        ("Accuracy against length", "Mean length under the limit (tokens)"),
    ]


# Numbers at points


def _boxes(points: np.ndarray, widths: np.ndarray, placed: Any) -> np.ndarray:
    """Left, bottom, right, top of each label."""
    centers = points + [offset for offset, _ in placed]
    size = np.column_stack([widths, np.full(len(widths), HEIGHT)])
    return np.hstack([centers - size / 2, centers + size / 2])


def _touch(a: Any, b: Any) -> bool:
    return bool(np.all(np.maximum(a[:2], b[:2]) < np.minimum(a[2:], b[2:]) - 1e-9))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=40), st.booleans())
def test_no_number_lies_on_another_or_on_a_point_or_out_of_the_frame(
    positions: list[tuple[int, int]], crossed: bool
) -> None:
    points, frame = np.array(positions, dtype=float), np.array([-9.0, -9.0, 309.0, 309.0])
    radii, widths = np.full(len(points), 4.0), np.full(len(points), 10.0)
    bars = np.array([[x, y - 30, x, y + 30] for x, y in positions if crossed]).reshape(-1, 4)
    placed = place(points, radii, widths, bars, frame)
    boxes = _boxes(points, widths, placed)
    markers = np.hstack([points - 4, points + 4])
    assert not any(_touch(a, b) for a, b in combinations(boxes, 2))
    assert not any(_touch(box, marker) for box in boxes for marker in markers)
    assert (boxes[:, :2] >= frame[:2]).all()
    assert (boxes[:, 2:] <= frame[2:]).all()


def test_a_number_stands_where_no_bar_is_and_nearest_to_its_own_point() -> None:
    def first(*points: tuple[float, float], bars: Sequence[Sequence[float]] = ()) -> tuple[float, float]:
        n, frame = len(points), np.array([-100.0, -100.0, 100.0, 100.0])
        ((offset, far), *_) = place(
            np.array(points), np.full(n, 4.0), np.full(n, 10.0), np.array(bars, dtype=float).reshape(-1, 4), frame
        )
        assert not far
        return offset

    x, y = first((0.0, 0.0))
    assert x > 0 and y > 0
    x, y = first((0.0, 0.0), bars=[(10, -90, 10, 90)])
    assert x < 0 and y > 0
    x, y = first((0.0, 0.0), (24.0, 22.0))
    assert x > 0 and y > 0
    x, _ = first((0.0, 0.0), (14.0, 0.0))
    assert x < 0


def _crowd(count: int) -> dict[str, Results]:
    """Runs of nearly the same length and accuracy, in bunches of three."""
    draw = np.random.default_rng(0)
    bunches = [tuple(draw.uniform((0.93, 40), (0.98, 140))) for _ in range(-(-count // 3))]
    return {
        f"run {n}": Results.parse(
            {
                "accuracy": bunches[n // 3][0] + 0.0005 * (n % 3),
                "accuracy_se": 0.006,
                "length": bunches[n // 3][1] + (n % 3),
                "length_se": 4.0,
            }
        )
        for n in range(count)
    }


@pytest.mark.parametrize("count", [8, 24, 63])
def test_the_numbers_of_many_runs_can_be_read(count: int) -> None:
    figure: Any = figures.accuracy_against_length(_crowd(count))
    assert figure is not None
    figure.draw_without_rendering()
    (ax,) = figure.axes
    labels = {text.get_text(): text for text in ax.texts}
    assert [*labels] == [str(n + 1) for n in range(count)]
    extents = [Text.get_window_extent(text) for text in labels.values()]  # without the leading line
    assert not any(_touch(a.extents, b.extents) for a, b in combinations(extents, 2))
    assert all(ax.bbox.containsx(x) and ax.bbox.containsy(y) for e in extents for x, y in (e.min, e.max))
    assert min(_contrast_to_white(text.get_color()) for text in labels.values()) > 3


def test_a_number_away_from_its_point_has_a_line_to_it() -> None:
    same = Results.parse({"accuracy": 0.5, "accuracy_se": 0.1, "length": 100.0})
    alone = Results.parse({"accuracy": 0.6, "accuracy_se": 0.1, "length": 110.0})
    figure: Any = figures.accuracy_against_length({**{str(n): same for n in range(8)}, "alone": alone})
    led = {text.get_text(): text.arrow_patch is not None for text in figure.axes[0].texts}
    assert led == {str(n): n < 8 for n in range(1, 10)}  # the eighth is the outermost ring


def test_a_crowded_figure_is_the_same_file_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = figures.accuracy_against_length(_crowd(24))
        assert figure is not None
        figures.save(figure, tmp_path / f"{name}.png")
        figures.save_pdf(figure, tmp_path / f"{name}.pdf")
    for kind in ("png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


# Legends


@pytest.mark.parametrize("length", [10, 60])
def test_a_legend_leaves_its_panel_most_of_the_width(length: int) -> None:
    runs = {f"{name:x<{length}}": results for name, results in _crowd(9).items()}
    figure = figures.accuracy_against_length(runs)
    assert figure is not None
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.5
    assert figure.axes[0].get_position().height > 0.5


@pytest.mark.parametrize(("length", "columns"), [(5, 4), (30, 2), (90, 1)])
def test_a_legend_below_is_no_wider_than_its_figure(length: int, columns: int) -> None:
    line = {0.0: Results.parse({"accuracy": 0.5, "length": 20.0})}
    figure: Any = figures.against_coefficient("x", {f"{name:x<{length}}": line for name in "abcd"})
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 <= legend.x1 <= figure.bbox.width
    assert figure.legends[0]._ncols == columns


def test_more_lines_than_colors_are_all_drawn_and_all_different() -> None:
    count = len(COLORS) + 2
    models = {str(n): [{"step": step, "budget": n + step, "length": 2.0} for step in (1, 2)] for n in range(count)}
    trained: Any = figures.budgets_in_training(models)
    bold = [line for line in trained.axes[0].lines if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle()) for line in bold}) == count
    results = Results.parse({"level_1/accuracy": 0.5, "level_2/accuracy": 0.6, "accuracy": 0.5, "length": 9.0})
    by_level: Any = figures.by_level({str(n): results for n in range(count)})
    swept: Any = figures.against_coefficient("x", {str(n): {1.0: results} for n in range(count)})
    for figure in (by_level, swept):
        lines = _lines(figure.axes[0]).values()
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == count
    at = np.array([line.get_xdata() for line in _lines(by_level.axes[0]).values()], dtype=float)
    assert at[:, 0].max() < at[:, 1].min()


def test_no_title_of_a_training_panel_is_wider_than_its_place() -> None:
    metrics = [curve.key for panel in figures.training.PANELS for curve in panel.curves]
    figure: Any = figures.training_curves([{"step": step, **dict.fromkeys(metrics, 100.0 * step)} for step in (1, 2)])
    figure.draw_without_rendering()
    right = [ax._left_title.get_window_extent().x1 for ax in figure.axes]
    next_left = [ax.get_tightbbox().x0 for ax in figure.axes]
    for n in range(len(figure.axes)):
        last = n % 3 == 2 or n + 1 == len(figure.axes)
        assert right[n] < (figure.bbox.width if last else next_left[n + 1])


def test_a_grid_of_rewards_says_what_its_upright_line_is() -> None:
    def legend(*names: str) -> list[str]:
        figure = figures.reward_grid([reward_class(name)() for name in names], 1000)
        return [text.get_text() for text in figure.legends[0].get_texts()]

    assert legend("cosine", "budget_cosine")[-1] == "budget"
    assert "budget" not in legend("cosine")
