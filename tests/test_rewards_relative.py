"""Rewards that measure a length by its group: SER-RL, DAST, AdaCtrl, Kimi k1.5."""

from dataclasses import replace

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.adactrl import AdaCtrl
from budgetrl.rewards.dast import Dast
from budgetrl.rewards.kimi import Kimi
from budgetrl.rewards.ser_rl import SerRl

WRONG = Outcome(well_formed=True, correct=False, length=1000)
RIGHT = replace(WRONG, correct=True)
CUT = replace(WRONG, well_formed=False, truncated=True, length=9000)
"""Graders never call a truncated response correct."""


def of_length(outcome: Outcome, *lengths: int) -> list[Outcome]:
    return [replace(outcome, length=length) for length in lengths]


# SER-RL


@pytest.mark.parametrize(
    ("group", "rewards"),
    [
        ([WRONG, CUT], [0.0, 0.0]),
        ([RIGHT, *of_length(WRONG, 10)], [1.0, 0.0]),  # one right answer has nothing to be compared with
        ([RIGHT, RIGHT, CUT], [1.5, 1.5, 0.0]),
        ([*of_length(RIGHT, 1000, 1200, 2000), CUT], [1.5, 1.4, 1.0, 0.0]),
    ],
)
def test_ser_rl_compares_the_right_ones_alone(group: list[Outcome], rewards: list[float]) -> None:
    assert SerRl()(group, 0) == pytest.approx(rewards)


# DAST


def test_dasts_length_budget_lies_between_the_right_lengths_and_the_longest() -> None:
    reward = Dast(max_length=4000)
    assert reward.length_budget([WRONG, CUT]) == 4000
    assert reward.length_budget([*of_length(RIGHT, 500, 1500), WRONG, CUT]) == 2500
    assert reward.length_budget([RIGHT, RIGHT]) == 1000
    assert reward.length_budget(of_length(RIGHT, 0)) == 1
    with pytest.raises(ValueError, match="^max_length: must be set"):
        Dast(max_length=None)([RIGHT], 0)


def test_dasts_bands() -> None:
    """A group that is all right has its own mean as the budget; right is 0.1 at worst, wrong -0.1 at best."""
    assert Dast()(of_length(RIGHT, 0, 1000, 2000), 0) == pytest.approx([1.0, 0.5, 0.1])
    assert Dast(max_length=1000)(of_length(WRONG, 0, 500, 1000, 5000), 0) == pytest.approx([-1.0, -0.55, -0.1, -0.1])
    assert Dast(max_length=9000)([CUT], 0) == pytest.approx([-0.1])


# AdaCtrl

EASY, HARD = replace(RIGHT, easy=True), replace(RIGHT, easy=False)


def test_adactrls_label_is_easy_above_five_of_eight() -> None:
    five, six = ([EASY] * right + [replace(HARD, correct=False)] * (8 - right) for right in (5, 6))
    assert AdaCtrl().parts(five, 0)["tag"] == [0.0] * 5 + [0.5] * 3
    assert AdaCtrl().parts(six, 0)["tag"] == [0.5] * 6 + [0.0] * 2


def test_adactrl_shortens_right_answers_tagged_easy_alone() -> None:
    longest = replace(HARD, correct=False, length=4000)
    group = [EASY, HARD, replace(EASY, correct=False), replace(EASY, length=2000), longest]
    assert AdaCtrl().parts(group, 0)["length"] == pytest.approx([0.426777, 0.0, 0.0, 0.25, 0.0], abs=1e-6)


def test_adactrl_takes_a_missing_tag_from_the_tag_term_alone() -> None:
    untagged = replace(RIGHT, well_formed=False, easy=None)
    parts = AdaCtrl().parts([untagged], 0)
    assert (parts["verdict"], parts["tag"], parts["length"]) == ([1.0], [-0.5], [0.0])


def test_adactrl_counts_a_truncated_answer_as_wrong_and_overlong() -> None:
    cut = replace(CUT, easy=True)
    parts = AdaCtrl(max_length=9000, cache=1000).parts([cut, HARD], 0)
    assert (parts["verdict"], parts["overlong"]) == ([-1.0, 1.0], [-1.0, 0.0])
    assert parts["tag"] == [0.0, 0.5]  # half of the group right: Hard


# Kimi


def test_kimi_compares_all_responses() -> None:
    group = [*of_length(RIGHT, 1000, 5000, 9000), *of_length(WRONG, 1000, 7000), CUT]
    length = Kimi(weight=1.0).parts(group, 1)["length"]
    assert length == pytest.approx([0.5, 0.0, -0.5, 0.0, -0.25, -0.5])


@pytest.mark.parametrize("group", [[RIGHT], [RIGHT, WRONG, RIGHT]])
def test_kimi_has_no_length_term_where_all_lengths_are_equal(group: list[Outcome]) -> None:
    assert Kimi().parts(group, 1)["length"] == [0.0] * len(group)


def test_kimi_warms_up() -> None:
    reward = Kimi(weight=0.4, warmup=0.5)
    assert [reward.schedule(progress)["length_weight"] for progress in (0.0, 0.49, 0.5, 1.0)] == [0.0, 0.0, 0.4, 0.4]
    group = of_length(RIGHT, 1000, 2000)
    assert reward(group, 0.49) == [1.0, 1.0]
    assert reward(group, 0.5) == pytest.approx([1.2, 0.8])
    assert Kimi(warmup=0.0)(group, 0) == pytest.approx([1.2, 0.8])


@pytest.mark.parametrize(
    ("reward", "field", "value"),
    [
        (SerRl, "weight", -0.5),
        (SerRl, "weight", float("nan")),
        (Dast, "max_length", 0),
        (AdaCtrl, "length_weight", -0.5),
        (AdaCtrl, "tag_weight", -0.5),
        (AdaCtrl, "cache", 0),
        (Kimi, "weight", -0.5),
        (Kimi, "warmup", 1.5),
    ],
)
def test_refused_settings_name_the_field(reward: type, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        reward(**{field: value})
