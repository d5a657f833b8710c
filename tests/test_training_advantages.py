import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.training.advantages import equal_share, group_advantages

TRL = json.loads((Path(__file__).parent / "fixtures" / "grpo_trl.json").read_text())


def test_by_hand() -> None:
    (scaled,) = group_advantages([[1, 0, 0, 1, 1]], normalise_std=True, std_floor=0.0)
    assert scaled == pytest.approx([0.730297, -1.095445, -1.095445, 0.730297, 0.730297], abs=1e-6)
    (centred,) = group_advantages([[1, 0, 0, 1, 1]], normalise_std=False, std_floor=0.5)
    assert centred == pytest.approx([0.4, -0.6, -0.6, 0.4, 0.4])


def test_the_floor_is_added_to_the_std() -> None:
    (advantages,) = group_advantages([[0.0, 0.02]], normalise_std=True, std_floor=0.01)
    assert advantages[1] == pytest.approx(0.01 / (0.02 / math.sqrt(2) + 0.01))


def test_agrees_with_trl() -> None:
    ours = group_advantages(TRL["rewards"], normalise_std=True, std_floor=1e-4)
    for group, expected in zip(ours, TRL["advantages"], strict=True):
        assert group == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_reward_is_left_out(missing: float | None) -> None:
    with_gap, without = group_advantages([[1.0, missing, 0.0, 0.5], [1.0, 0.0, 0.5]], True, 0.01)
    assert with_gap == [without[0], 0.0, *without[1:]]


@pytest.mark.parametrize("group", [[0.1, 0.1, 0.1], [0.1 + 0.2, 0.3, 0.3], [None, 0.7], [None, None], []])
def test_equal_rewards_give_no_advantage_even_without_a_floor(group: list[float | None]) -> None:
    assert group_advantages([group], normalise_std=True, std_floor=0.0) == [[0.0] * len(group)]
    assert equal_share([group]) == 1.0


def test_equal_share_counts_groups() -> None:
    assert equal_share([[1.0, 1.0], [0.0, 1.0], [None, 1.0], [math.nan, 0.0, 2.0]]) == 0.5


def test_an_infinite_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        group_advantages([[0.0, math.inf]], normalise_std=False, std_floor=0.0)


rewards = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


@given(rewards, st.floats(-5, 5), st.booleans())
def test_advantages_sum_to_zero_and_ignore_a_shift(group: list[float], shift: float, scale: bool) -> None:
    (plain,), (shifted,) = (
        group_advantages([g], scale, std_floor=0.01) for g in (group, [reward + shift for reward in group])
    )
    assert sum(plain) == pytest.approx(0.0, abs=1e-6)
    assert shifted == pytest.approx(plain, abs=1e-5)


@given(rewards)
def test_groups_do_not_mix(group: list[float]) -> None:
    alone, beside = group_advantages([group], True, 0.01), group_advantages([[5.0, -5.0], group], True, 0.01)
    assert beside[1] == alone[0]
