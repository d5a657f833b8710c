"""Rewards under GDPO (`per_component`): every part weighs as much as the verdict, regardless of its scale."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Outcome
from budgetrl.rewards.arora import Arora
from budgetrl.rewards.group import is_right
from budgetrl.rewards.laser import Laser
from budgetrl.rewards.reward import Reward
from budgetrl.rewards.thinkprune import ThinkPrune
from budgetrl.settings.algorithm import AdvantageSettings, Algorithm
from budgetrl.training.advantages import Group, group_advantages
from test_rewards_all import CHANGED, DEFAULT, finished, malformed

GDPO = Algorithm(advantage=AdvantageSettings(scale="none", std_floor=0.0, per_component=True))
"""Without scaling over the batch, which is the same for all members of a group."""
SLACK = 1e-6

REFUSED = {
    "aalc", "accuracy", "adactrl", "alp", "arora", "budget_cosine", "budget_gauss", "cosine", "hapo", "kimi",
    "l1_exact", "laser", "laser_de", "lead", "overlong", "shorterbetter", "thinkprune",
}  # fmt: skip
"""Rewards that are refused with per_component, or that some of their settings make so."""
CONDITIONAL = {
    "aalc": {"length_weight": 0},
    "accuracy": {},
    "alp": {"beta": 0},
    "arora": {"alpha": 0},
    "budget_cosine": {"r_b": 0, "wrong_min": 0},
    "hapo": {"weight": 0},
    "kimi": {"weight": 0},
    "laser": {},
    "laser_de": {"bonus": 0},
    "lead": {"alpha": 0},
    "shorterbetter": {"beta": 0},
}
"""Settings with which such a reward is not refused."""
REVERSING = {
    "accuracy": {"r_f": 0.3, "wrong": 0.5},
    "laser": {"variant": "penalty", "target": 3000},
}
"""Settings with which a reward that is not refused by default is."""
ALLOWED = {
    **{name: reward for name, reward in DEFAULT.items() if name not in REFUSED},
    **{f"{name}, allowed": replace(DEFAULT[name], **changes) for name, changes in CONDITIONAL.items()},
    "laser_d, amid training": CHANGED["laser_d"],
}

graded = finished(20_000) | malformed(20_000)
mixed = st.tuples(finished(20_000), graded, st.lists(graded, max_size=6)).map(
    lambda drawn: [replace(drawn[0], correct=True), replace(drawn[1], correct=False), *drawn[2]]
)


def advantages(reward: Reward, group: Sequence[Outcome]) -> list[float]:
    parts, lengths = reward.parts(group, 1.0), [1] * len(group)
    found = Group(
        reward(group, 1.0),
        parts,
        lengths,
        [is_right(outcome) for outcome in group],
        [outcome.well_formed for outcome in group],
    )
    return group_advantages([found], GDPO.advantage)[0]


def rank(outcome: Outcome) -> int:
    """2 for a right response, 1 for a wrong one, 0 for a malformed one."""
    return outcome.well_formed + is_right(outcome)


def reversals(reward: Reward, group: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """Pairs of a better and a worse response whose order, kept by the reward, is reversed by the advantages."""
    found = []
    rewards, advantage = reward(group, 1.0), advantages(reward, group)
    for i, j in permutations(range(len(group)), 2):
        kept = rank(group[i]) > rank(group[j]) and rewards[i] >= rewards[j]
        if kept and advantage[i] < advantage[j] - SLACK:
            found.append((group[i], group[j]))
    return found


def refused(reward: Reward) -> bool:
    return any(error.key == "algorithm.advantage.per_component" for error in reward.errors(GDPO))


@pytest.mark.parametrize("reward", ALLOWED.values(), ids=ALLOWED)
@given(group=mixed)
def test_what_is_not_refused_keeps_the_order_of_right_wrong_and_malformed(reward: Reward, group: list[Outcome]) -> None:
    assert not refused(reward)
    assert not reversals(reward, group)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_reverses_the_order_in_some_group(name: str) -> None:
    reward = replace((DEFAULT | CHANGED)[name], **REVERSING.get(name, {}))
    random = Random(0)
    assert refused(reward)
    assert not [error for error in reward.errors(Algorithm()) if "per_component" in error.key]
    assert any(reversals(reward, some_group(random)) for _ in range(500))


def some_group(random: Random) -> list[Outcome]:
    """Eight responses, of which at least one is right, and one wrong or malformed."""
    kinds = ["right", random.choice(["wrong", "malformed"])]
    kinds += random.choices(["right", "wrong", "malformed"], k=6)
    group = []
    for kind in kinds:
        well_formed = kind != "malformed"
        outcome = Outcome(
            well_formed, kind == "right", random.randint(50, 6000), random.choice([500, 2000]),
            random.choice([800, 5000]), truncated=not well_formed and random.random() < 0.5,
            easy=random.random() < 0.5 if well_formed else None, repetition=random.random(), problem_id="p",
        )  # fmt: skip
        group.append(outcome)
    return group


def test_malformed_responses_do_not_beat_wrong_ones_of_selfbudgeter() -> None:
    """Malformed responses earn 0 in the two parts in which wrong ones over b_max lose, and so end up above them."""
    over = Outcome(True, False, 10, budget=1000, b_max=100)
    broken = Outcome(False, False, 10)
    reward = DEFAULT["budget_cosine"]
    assert reward([broken, over], 1.0) == pytest.approx([-1.0, -0.9])
    above, below = advantages(reward, [broken] * 4 + [over] * 4)[::4]
    assert above == pytest.approx(0.935, abs=1e-3) and below == pytest.approx(-0.935, abs=1e-3)
    assert refused(reward)


def test_the_reason_is_given() -> None:
    (error,) = DEFAULT["overlong"].errors(GDPO)
    assert str(error) == (
        "algorithm.advantage.per_component: with reward=overlong, the length penalty then counts as much as the "
        "verdict, so a wrong or malformed response can rank above a right one; set it to false"
    )


@pytest.mark.parametrize("reward", [Arora(), Laser(variant="penalty"), Laser(variant="hybrid"), ThinkPrune()])
def test_parts_that_undo_the_verdict_are_refused(reward: Reward) -> None:
    """With one right answer that is penalized for its length, all advantages are 0."""
    group = [Outcome(True, correct, 9000) for correct in (True, False, False, False)]
    assert advantages(reward, group) == pytest.approx([0.0] * 4, abs=SLACK)
    assert refused(reward)
