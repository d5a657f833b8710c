"""`length_when_all_wrong`: in a group without a right answer, `ignored` takes away what giving up early earns."""

from collections.abc import Sequence

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.aalc import Aalc
from budgetrl.rewards.alp import Alp
from budgetrl.rewards.budget_cosine import BudgetCosine
from budgetrl.rewards.group import is_right
from budgetrl.rewards.hapo import Hapo
from budgetrl.rewards.kimi import Kimi
from budgetrl.rewards.reward import Reward
from budgetrl.settings.algorithm import AdvantageSettings
from budgetrl.training.advantages import Group, group_advantages, without_length_if_all_wrong

TRIES = Outcome(True, False, 900, budget=500, problem_id="p")
GIVES_UP = Outcome(True, False, 11, budget=10, problem_id="p")
BROKEN = Outcome(False, False, 5, problem_id="p")
RIGHT = Outcome(True, True, 900, budget=500, problem_id="p")
REWARDS = [
    Alp(max_length=1000),
    Hapo(history={"p": 100}),
    Kimi(),
    Aalc(validation_accuracy=1.0),
    BudgetCosine(alpha_start=0.1, alpha_schedule="constant"),
]
each_reward = pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: reward.name)


def advantages(reward: Reward, outcomes: Sequence[Outcome], option: str) -> list[float]:
    lengths = [outcome.length for outcome in outcomes]
    right = [is_right(outcome) for outcome in outcomes]
    well_formed = [outcome.well_formed for outcome in outcomes]
    group = Group(reward(outcomes, 1.0), reward.parts(outcomes, 1.0), lengths, right, well_formed)
    settings = AdvantageSettings(std_floor=0.0, length_when_all_wrong=option)
    return group_advantages([group], settings)[0]


@each_reward
def test_giving_up_pays_as_published_and_not_if_length_is_ignored(reward: Reward) -> None:
    group = [TRIES, GIVES_UP, TRIES, TRIES]
    published = advantages(reward, group, "published")
    assert published[1] > published[0]
    assert advantages(reward, group, "ignored") == [0.0] * 4


@each_reward
def test_malformed_responses_never_rank_above_wrong_ones_if_length_is_ignored(reward: Reward) -> None:
    tries, gives_up, broken = advantages(reward, [TRIES, GIVES_UP, BROKEN], "ignored")
    assert tries == pytest.approx(gives_up)
    assert broken <= tries + 1e-9
    assert (broken < tries - 1e-9) == (reward.name == "budget_cosine")  # which alone punishes the format


@each_reward
def test_groups_with_a_right_answer_are_as_published(reward: Reward) -> None:
    group = [TRIES, GIVES_UP, BROKEN, RIGHT]
    assert advantages(reward, group, "ignored") == advantages(reward, group, "published")


def test_by_hand() -> None:
    """Wrong: mean of 0.2 and 0.6. Malformed: mean of -1 and 0. A missing reward stays missing."""
    well_formed = [True, True, False, False, True]
    values = [0.2, 0.6, -1.0, 0.0, None]
    leveled = without_length_if_all_wrong(values, [False] * 5, well_formed)
    assert leveled == [pytest.approx(0.4), pytest.approx(0.4), -0.5, -0.5, None]
    high = without_length_if_all_wrong([0.2, 0.6, 0.5], [False] * 3, [True, True, False])
    assert high == [pytest.approx(0.4)] * 3  # malformed ones get no more than wrong ones


def test_the_options_are_named() -> None:
    with pytest.raises(ValueError, match="length_when_all_wrong: 'off' is not one of published, ignored"):
        AdvantageSettings(length_when_all_wrong="off")
