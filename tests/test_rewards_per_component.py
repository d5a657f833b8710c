"""Rewards under GDPO (`per_component`): every part weighs as much as the verdict, regardless of its scale."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Outcome
from budgetrl.rewards.arora import Arora
from budgetrl.rewards.group import is_right
from budgetrl.rewards.hapo import Hapo
from budgetrl.rewards.laser import Laser
from budgetrl.rewards.lead import Lead
from budgetrl.rewards.reward import Reward
from budgetrl.rewards.thinkprune import ThinkPrune
from budgetrl.settings.algorithm import AdvantageSettings, Algorithm
from budgetrl.training.advantages import Group, group_advantages
from test_rewards_all import CHANGED, DEFAULT, finished, rewards_named

GDPO = Algorithm(advantage=AdvantageSettings(scale="none", std_floor=0.0, per_component=True))
"""Without scaling over the batch, which is the same for all members of a group."""
SLACK = 1e-6

AS_MUCH = "length counts as much as the verdict, for all answers or for right ones only"
RIGHT_MAY_LOSE = {
    "aalc": AS_MUCH,
    "adactrl": "length, tag and overlong penalty each count as much as the verdict",
    "alp": AS_MUCH,
    "arora": "only right answers are penalized for length; rejected",
    "budget_cosine": "the budget penalty counts as much as adherence, which holds the verdict",
    "budget_gauss": "the budget penalty counts as much as adherence, which holds the verdict",
    "hapo": AS_MUCH,
    "kimi": AS_MUCH,
    "l1_exact": AS_MUCH,
    "laser_de": "wrong answers beyond the target earn the same bonus as right ones within it",
    "lead": AS_MUCH,
    "overlong": AS_MUCH,
    "shorterbetter": AS_MUCH,
    "thinkprune": "only right answers are penalized beyond the limit; rejected",
}
"""Rewards in which a right answer's advantage can fall below a wrong one's of its group, and why."""

mixed = st.tuples(finished(20_000), finished(20_000), st.lists(finished(20_000), max_size=6)).map(
    lambda drawn: [replace(drawn[0], correct=True), replace(drawn[1], correct=False), *drawn[2]]
)


def advantages(reward: Reward, group: Sequence[Outcome]) -> list[float]:
    parts, lengths = reward.parts(group, 1.0), [1] * len(group)
    found = Group(reward(group, 1.0), parts, lengths, [is_right(outcome) for outcome in group])
    return group_advantages([found], GDPO.advantage)[0]


def gap(reward: Reward, group: Sequence[Outcome]) -> float:
    """Lowest advantage of a right answer minus highest advantage of a wrong one."""
    verdicts = list(zip(advantages(reward, group), group, strict=True))
    return min(a for a, o in verdicts if o.correct) - max(a for a, o in verdicts if not o.correct)


@rewards_named(set(DEFAULT) - set(RIGHT_MAY_LOSE))
@given(group=mixed)
def test_no_right_answer_falls_below_a_wrong_one(reward: Reward, group: list[Outcome]) -> None:
    assert gap(reward, group) >= -SLACK


@pytest.mark.parametrize("name", RIGHT_MAY_LOSE)
def test_some_right_answer_does_where_that_is_said(name: str) -> None:
    reward, random = (DEFAULT | CHANGED)[name], Random(0)
    assert min(gap(reward, some_group(random)) for _ in range(500)) < -SLACK


def some_group(random: Random) -> list[Outcome]:
    """Eight answers, of which at least one is right and one wrong."""
    verdicts = [True, False, *(random.random() < 0.6 for _ in range(6))]
    return [
        Outcome(
            True, verdict, random.randint(50, 3000), random.choice([500, 2000]), random.choice([800, 5000]),
            easy=random.random() < 0.5, problem_id="p",
        )
        for verdict in verdicts
    ]  # fmt: skip


@pytest.mark.parametrize("reward", [Arora(), Laser(variant="penalty"), Laser(variant="hybrid"), ThinkPrune()])
def test_parts_that_undo_the_verdict_are_refused(reward: Reward) -> None:
    """With one right answer that is penalized for its length, all advantages are 0."""
    group = [Outcome(True, correct, 9000) for correct in (True, False, False, False)]
    assert advantages(reward, group) == pytest.approx([0.0] * 4, abs=SLACK)
    (error,) = reward.errors(GDPO)
    assert error.key == "algorithm.advantage.per_component"
    assert not reward.errors(Algorithm())


@pytest.mark.parametrize("reward", [Arora(alpha=0), Laser(), Laser(variant="penalty", bonus=0), Lead(), Hapo()])
def test_parts_that_leave_the_verdict_a_say_are_not(reward: Reward) -> None:
    assert not reward.errors(GDPO)
