import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.settings.algorithm import ADVANTAGE_SCALES, BASELINES, AdvantageSettings
from budgetrl.training.advantages import Group, difficulty_weight, fraction_equal, group_advantages

Rewards = list[float | None]


def advantages(*rewards: Rewards, **settings: object) -> list[list[float]]:
    """Of groups with these rewards; completions count their tokens from 1, and rewards above 0 are right."""
    groups = [Group(g, {}, range(1, len(g) + 1), [bool(r and r > 0) for r in g], [True] * len(g)) for g in rewards]
    return group_advantages(groups, AdvantageSettings(**settings))  # pyright: ignore[reportArgumentType]


def test_by_hand() -> None:
    (scaled,) = advantages([1, 0, 0, 1, 1], std_floor=0.0)
    assert scaled == pytest.approx([0.730297, -1.095445, -1.095445, 0.730297, 0.730297], abs=1e-6)
    (centered,) = advantages([1, 0, 0, 1, 1], scale="none", std_floor=0.5)
    assert centered == pytest.approx([0.4, -0.6, -0.6, 0.4, 0.4])
    (others,) = advantages([1, 0, 0, 1, 1], scale="none", baseline="leave_one_out")
    assert others == pytest.approx([0.5, -0.75, -0.75, 0.5, 0.5])


def test_batch_scale_by_hand() -> None:
    """Rewards 1, 0, 3, 2: mean 1.5, variance 5 / 3."""
    std = math.sqrt(5 / 3)
    found = advantages([1, 0], [3, 2], scale="batch", std_floor=0.5)
    assert found == [pytest.approx([0.5 / (std + 0.5), -0.5 / (std + 0.5)])] * 2


def test_token_scale_by_hand() -> None:
    """One token at 1/2, two at -1/2, and three of a group of equals at 0: mean -1/12, variance (3/4 - 6/144) / 5."""
    std = math.sqrt((3 / 4 - 6 / 144) / 5)
    found = advantages([1, 0], [7, 7], scale="tokens", std_floor=0.0)
    expected = [[7 / 12 / std, -5 / 12 / std], [1 / 12 / std, 1 / 12 / std]]
    assert found == [pytest.approx(group) for group in expected]


def test_components_by_hand() -> None:
    """A small length term weighs as much as the verdict; where all are right it is all there is."""
    mixed = Group([1.0, 0.1], {"right": [1.0, 0.0], "short": [0.0, 0.1]}, [1, 1], [True, False], [True, True])
    solved = Group([1.0, 1.1], {"right": [1.0, 1.0], "short": [0.0, 0.1]}, [1, 1], [True, True], [True, True])
    z = 1 / math.sqrt(2)
    found = group_advantages([mixed, solved], AdvantageSettings(per_component=True, scale="none", std_floor=0.0))
    assert found == [pytest.approx([0.0, 0.0]), pytest.approx([-z, z])]
    whole = group_advantages([mixed, solved], AdvantageSettings(per_component=True, scale="batch", std_floor=0.0))
    std = math.sqrt((z**2 + z**2) / 3)
    assert whole == [pytest.approx([0.0, 0.0]), pytest.approx([-z / std, z / std])]


@pytest.mark.parametrize(
    ("solved", "weight"), [(0, 1.499392), (0.25, 1.492638), (0.5, 1.416556), (0.75, 0.95), (1, 0.483444)]
)
def test_difficulty_weight_by_hand(solved: float, weight: float) -> None:
    assert difficulty_weight(solved) == pytest.approx(weight, abs=1e-6)


def test_difficulty_weighting_by_hand() -> None:
    """One of four is right: hard, so its advantage counts for 1.492638, and the others' for w(0.75) = 0.95."""
    settings = {"scale": "none", "difficulty_weighting": True}
    (found,) = advantages([1, 0, 0, 0], **settings)
    assert found == pytest.approx([0.75 * 1.492638, *[-0.25 * 0.95] * 3], abs=1e-6)


def test_the_floor_is_added_to_the_std() -> None:
    (found,) = advantages([0.0, 0.02], std_floor=0.01)
    assert found[1] == pytest.approx(0.01 / (0.02 / math.sqrt(2) + 0.01))


@pytest.mark.parametrize("missing", [None, math.nan])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_missing_reward_is_left_out(missing: float | None, scale: str) -> None:
    (with_gap,) = advantages([1.0, missing, 0.0, 0.5], scale=scale)
    (without,) = advantages([1.0, 0.0, 0.5], scale=scale)
    assert with_gap == [without[0], 0.0, *without[1:]]


@pytest.mark.parametrize("group", [[0.1, 0.1, 0.1], [0.1 + 0.2, 0.3, 0.3], [None, 0.7], [None, None], []])
@pytest.mark.parametrize("scale", ADVANTAGE_SCALES)
def test_equal_rewards_give_no_advantage_even_without_a_floor(group: Rewards, scale: str) -> None:
    assert advantages(group, scale=scale, std_floor=0.0) == [[0.0] * len(group)]
    assert fraction_equal([group]) == 1.0


def test_fraction_equal_counts_groups() -> None:
    assert fraction_equal([[1.0, 1.0], [0.0, 1.0], [None, 1.0], [math.nan, 0.0, 2.0]]) == 0.5


def test_an_infinite_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        advantages([0.0, math.inf], scale="none")


rewards = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


@given(rewards, st.floats(-5, 5), st.sampled_from(["group", "batch", "none"]), st.sampled_from(BASELINES))
def test_advantages_sum_to_zero_and_ignore_a_shift(group: Rewards, shift: float, scale: str, baseline: str) -> None:
    (plain,), (shifted,) = (
        advantages(g, scale=scale, baseline=baseline) for g in (group, [r + shift for r in group if r == r])
    )
    assert sum(plain) == pytest.approx(0.0, abs=1e-6)
    assert shifted == pytest.approx(plain, abs=1e-5)


@given(rewards, st.sampled_from(["group", "none"]))
def test_groups_do_not_mix_where_nothing_is_scaled_over_the_batch(group: Rewards, scale: str) -> None:
    alone = advantages(group, scale=scale)
    assert advantages([5.0, -5.0], group, scale=scale)[1] == alone[0]


@given(st.lists(rewards, min_size=1, max_size=4))
def test_whitened_advantages_have_mean_0_over_tokens_and_std_1(groups: list[Rewards]) -> None:
    found = advantages(*groups, scale="tokens", std_floor=0.0)
    tokens = [a for group in found for n, a in enumerate(group, start=1) for _ in range(n)]
    assert sum(tokens) == pytest.approx(0.0, abs=1e-6)
    if any(tokens):
        assert sum(a * a for a in tokens) == pytest.approx(len(tokens) - 1)
