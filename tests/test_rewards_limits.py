"""Rewards with a length limit: from the prompt (L1), in stages (ThinkPrune), at the maximum (DAPO)."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.asked_length import AskedLength
from budgetrl.rewards.l1_exact import L1Exact
from budgetrl.rewards.l1_max import L1Max
from budgetrl.rewards.overlong import Overlong
from budgetrl.rewards.thinkprune import ThinkPrune

RIGHT = Outcome(well_formed=True, correct=True, length=1000, budget=1000)
WRONG = replace(RIGHT, correct=False)
CUT = replace(RIGHT, well_formed=False, truncated=True)


def of_length(outcome: Outcome, *lengths: int) -> list[Outcome]:
    return [replace(outcome, length=length) for length in lengths]


# L1


def test_l1_exact_prices_every_token_to_either_side() -> None:
    assert L1Exact(alpha=0.001)(of_length(RIGHT, 900, 1000, 1100, 5000), 0) == pytest.approx([0.9, 1.0, 0.9, -3.0])
    assert L1Exact(alpha=0.001)([*of_length(WRONG, 900), *of_length(CUT, 1500)], 0) == pytest.approx([-0.1, -0.5])


@pytest.mark.parametrize(
    ("form", "rewards"),
    [("paper", [1.0, 1.0, 0.7, 0.5, 0.3, 0.0, 0.0]), ("code", [1.0, 0.75, 0.6, 0.5, 0.4, 0.25, 0.0])],
)
def test_l1_max_is_clipped(form: str, rewards: list[float]) -> None:
    lengths = (0, 500, 800, 1000, 1200, 1500, 2000)
    reward = L1Max(alpha=0.001, form=form)
    assert reward(of_length(RIGHT, *lengths), 0) == pytest.approx(rewards)
    assert reward([WRONG, CUT], 0) == [0.0, 0.0]


def test_delta_moves_the_paper_form_alone() -> None:
    assert L1Max(delta=0.2)([RIGHT], 0) == [0.2]
    assert L1Max(delta=0.2, form="code")([RIGHT], 0) == [0.5]


@given(seed=st.integers(0, 2**63), low=st.integers(1, 50), more=st.integers(0, 50))
def test_a_prompt_asks_for_a_length_between_the_two(seed: int, low: int, more: int) -> None:
    reward = L1Exact(budget_low=low, budget_high=low + more)
    asked = reward.asked_budget(seed)
    assert low <= asked <= low + more
    assert reward.asked_budget(seed) == asked


def test_all_lengths_between_the_two_are_asked_for() -> None:
    assert {L1Max(budget_low=7, budget_high=11).asked_budget(seed) for seed in range(200)} == {7, 8, 9, 10, 11}


@pytest.mark.parametrize("reward", [L1Exact(), L1Max()])
def test_l1_needs_a_length_in_every_prompt(reward: AskedLength) -> None:
    with pytest.raises(ValueError, match=f"^budget: None .*'p3'; {reward.name} needs .*'prompt_budget'"):
        reward([replace(WRONG, budget=None, problem_id="p3")], 0)


# ThinkPrune


def test_stages_have_equal_shares_of_training() -> None:
    reward = ThinkPrune(limits=(400, 300, 200, 100))
    progresses = (0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 1.0)
    assert [reward.schedule(progress)["limit"] for progress in progresses] == [400, 400, 300, 200, 200, 100, 100]


def test_a_right_answer_beyond_the_limit_is_worth_a_wrong_one() -> None:
    reward = ThinkPrune(limits=(500,))
    assert reward([*of_length(RIGHT, 500, 501), *of_length(WRONG, 10), *of_length(CUT, 10)], 0) == [1.0, 0.0, 0.0, 0.0]
    assert reward.parts(of_length(RIGHT, 501), 0) == {"verdict": [1.0], "over_limit": [-1.0]}


# Overlong


def test_the_punishment_grows_over_the_cache() -> None:
    reward = Overlong(max_length=1000, cache=200)
    lengths = (0, 800, 850, 1000, 1001, 9999)
    assert reward.parts(of_length(RIGHT, *lengths), 0)["overlong"] == [0.0, 0.0, -0.25, -1.0, -1.0, -1.0]
    assert reward([CUT], 0) == [-2.0]


def test_the_longest_length_is_the_stages_where_left_null() -> None:
    reward = Overlong(max_length=None, cache=100)
    with pytest.raises(ValueError, match="^max_length: must be set"):
        reward([RIGHT], 0)
    assert reward.with_max_length(1050)([RIGHT], 0) == [0.5]
    with pytest.raises(ValueError, match=r"^cache: 100 is not below max_length \(90\)"):
        reward.with_max_length(90)


@pytest.mark.parametrize(
    ("reward", "changes"),
    [
        (L1Exact, {"alpha": 0.0}),
        (L1Exact, {"budget_low": 0}),
        (L1Exact, {"budget_high": 99}),
        (L1Max, {"alpha": -1.0}),
        (L1Max, {"delta": 1.5}),
        (L1Max, {"form": "blog"}),
        (ThinkPrune, {"limits": ()}),
        (ThinkPrune, {"limits": (400, 0)}),
        (Overlong, {"cache": 0}),
        (Overlong, {"cache": 20480}),
    ],
)
def test_refused_settings_name_the_field(reward: type, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(changes))}: "):
        reward(**changes)


# The longest completion


@dataclass(frozen=True)
class Stepwise(Overlong):
    """A user's own reward with length fields of its own."""

    name: str = "Stepwise"
    steps: tuple[int, ...] = (5000, 10)
    soft: int | None = None
    share: float = 9999.0

    length_fields = ("steps", "soft")


def test_lengths_that_no_completion_reaches_are_named() -> None:
    assert Stepwise(max_length=4097).length_warnings(5000, "stage.max_new_tokens") == []
    assert Stepwise(max_length=None).length_warnings(5000, "stage.max_new_tokens") == []
    assert Stepwise(soft=5001).length_warnings(4999, "stage.max_new_tokens") == [
        Message("reward.max_length", "is above stage.max_new_tokens (4999)", "adjust it to your model"),
        Message("reward.steps", "is above stage.max_new_tokens (4999)", "adjust it to your model"),
        Message("reward.soft", "is above stage.max_new_tokens (4999)", "adjust it to your model"),
    ]
    assert ThinkPrune(limits=(10, 100)).length_warnings(100, "stage.max_new_tokens") == []
