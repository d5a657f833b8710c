"""The controllers of LASER-D and HAPO: target lengths, and each problem's history of right lengths."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.hapo import Hapo
from budgetrl.rewards.laser_d import LaserD, group_difficulty

GRID = LaserD(max_length=500, lower_bound=100, grid_step=100, update_every=2)


def group(right: Sequence[int] = (), wrong: Sequence[int] = (), problem: str = "p", **more: Any) -> list[Outcome]:
    """Outcomes of one problem with these lengths."""
    lengths = [(True, length) for length in right] + [(False, length) for length in wrong]
    return [Outcome(True, correct, length, problem_id=problem, **more) for correct, length in lengths]


@pytest.mark.parametrize(
    ("rights", "size", "expected"),
    [(6, 9, "easy"), (5, 9, "medium"), (3, 9, "medium"), (2, 9, "hard"), (4, 6, "easy"), (0, 8, "hard")],
)
def test_difficulty_turns_at_a_third_and_two_thirds(rights: int, size: int, expected: str) -> None:
    assert group_difficulty(group(right=[1] * rights, wrong=[1] * (size - rights))) == expected


# Lengths 50, 150, ... 950 in tenths: with a group of 8, five of an easy group are sure to be right, so one
# response in five has to be covered; two of a medium one, so one in two; one of a hard one, so all.
TENTHS = range(50, 1000, 100)


@pytest.mark.parametrize(
    ("name", "rounding", "covers"),
    [
        ("easy", "floor", 200),
        ("medium", "floor", 500),
        ("hard", "floor", 1000),
        ("easy", "ceil", 200),
        ("medium", "ceil", 400),
        ("hard", "ceil", 1000),
    ],
)
def test_the_target_is_the_smallest_that_covers_enough(name: str, rounding: str, covers: int) -> None:
    reward = LaserD(max_length=2000, lower_bound=100, grid_step=100, rounding=rounding)
    assert reward.smallest_target(name, TENTHS, group_size=8) == covers


def test_the_target_stands_on_the_grid_and_is_max_length_where_that_covers_too_little() -> None:
    reward = LaserD(max_length=700, lower_bound=250, grid_step=300)
    assert reward.smallest_target("easy", TENTHS, group_size=8) == 250
    assert reward.smallest_target("medium", TENTHS, group_size=8) == 550
    assert reward.smallest_target("hard", TENTHS, group_size=8) == 700


def test_targets_move_when_it_is_time_and_an_absent_difficulty_keeps_its_own() -> None:
    controller = replace(GRID, target_hard=300).controller()
    controller.update([group(right=[90, 210, 210])])
    assert controller.reward.target_easy is None
    assert controller.reward.target("easy") == 500
    controller.update([group(right=[90], wrong=[290, 290]), group(right=[150, 210, 210])])
    # Easy: 2 of 3 are sure, and of 90, 150 and four of 210 half have to be covered. Medium: 1, so all.
    assert controller.reward.target_easy == 300
    assert controller.reward.target_medium == 300
    assert controller.reward.target_hard == 300
    assert controller.reward.schedule(0) == {"target_easy": 300, "target_medium": 300, "target_hard": 300}
    controller.update([group(right=[90])])
    controller.update([group(right=[90])])  # all of one are sure: what was seen before the last move is forgotten
    assert controller.reward.target_easy == 100


def test_the_plan_warns_if_training_ends_before_the_targets_first_move() -> None:
    """An update after the last rollout comes too late: no rollout is rewarded with the new targets."""
    (warning,) = LaserD(update_every=20).rollout_warnings(20)
    assert str(warning) == (
        "reward.update_every: with 20, the targets never change, because training has 20 rollouts; set a smaller "
        "number, or train for more steps"
    )
    assert not LaserD(update_every=20).rollout_warnings(21)
    assert not Hapo().rollout_warnings(1)


def test_a_lower_bound_above_the_longest_completion_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^lower_bound: 1024 is above max_length \(420\)"):
        LaserD().with_max_length(420)


def test_the_shortest_right_answer_is_remembered() -> None:
    controller = Hapo().controller()
    controller.update([group(right=[80, 60], wrong=[10], problem="a"), group(wrong=[5], problem="b")])
    assert controller.reward.history == {"a": 60}
    controller.update([group(right=[70], problem="a"), group(right=[40], problem="b")])
    assert controller.reward.history == {"a": 60, "b": 40}


def test_the_mean_of_all_right_answers_is_remembered() -> None:
    controller = Hapo(memory="mean", history={"given": 100}).controller()
    controller.update([group(right=[80, 60], problem="a"), group(right=[50], problem="given")])
    controller.update([group(right=[10], problem="a")])
    assert controller.reward.history == {"given": 75, "a": 50}


def test_an_answer_that_was_cut_off_leaves_no_trace() -> None:
    cut = [replace(outcome, well_formed=False, truncated=True) for outcome in group(right=[80])]
    controller = Hapo().controller()
    controller.update([cut])
    assert controller.reward.history == {}


def test_the_history_of_the_configuration_is_not_written_to() -> None:
    reward = Hapo(history={"a": 100})
    reward.controller().update([group(right=[50], problem="a")])
    assert reward.history == {"a": 100}
