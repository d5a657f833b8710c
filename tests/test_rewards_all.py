"""Properties that every reward must have. Rewards are found by name, so new ones are tested automatically."""

import json
import math
import pickle
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from budgetrl.core.records import Outcome
from budgetrl.formats.registry import format_names
from budgetrl.rewards.registry import reward_class, reward_names
from budgetrl.rewards.reward import Controller, Reward
from budgetrl.rewards.self_budgeter import SelfBudgeter

CONF = Path(__file__).parents[1] / "conf" / "reward"
CAP = 20_000
"""Longest completion in tokens, for rewards that need it."""
AMID_TRAINING: dict[str, dict[str, Any]] = {
    "aalc": {"validation_accuracy": 1.0},
    "hapo": {"history": {"p": 700}, "memory": "mean"},
    "laser": {"target": 700, "variant": "hybrid"},
    "laser_d": {"target_easy": 700, "target_medium": 900, "lower_bound": 100, "update_every": 2},
    "laser_de": {"target_easy": 700, "target_hard": 1100, "lower_bound": 100, "update_every": 2},
    "lead": {"min_length": 400},
    "overlong": {"max_length": 4500},
    "thinkprune": {"limits": (4000, 700)},
}
"""Field values as they might be in the middle of training, with lengths that suit the groups generated here."""
DEFAULT = {name: reward_class(name)().with_max_length(CAP) for name in reward_names()}
CHANGED = {name: replace(DEFAULT[name], **fields) for name, fields in AMID_TRAINING.items()}
REWARDS = [*DEFAULT.values(), *CHANGED.values()]
IDS = [*DEFAULT, *(f"{name}, amid training" for name in CHANGED)]
every_reward = pytest.mark.parametrize("reward", REWARDS, ids=IDS)

budgets = st.integers(1, 10**9 - 1)
references = st.one_of(st.just(math.inf), st.integers(0, 10**9))
problems = st.sampled_from(["p", "q"])


def finished(longest: int) -> st.SearchStrategy[Outcome]:
    """Well-formed outcomes of up to `longest` tokens."""
    length, share = st.integers(0, longest), st.floats(0, 1)
    return st.builds(
        Outcome, st.just(True), st.booleans(), length, budgets, references,
        easy=st.booleans(), repetition=share, problem_id=problems,
    )  # fmt: skip


def malformed(longest: int) -> st.SearchStrategy[Outcome]:
    """Malformed or truncated outcomes. They may be marked correct."""
    length, share, tag = st.integers(0, longest), st.floats(0, 1), st.none() | st.booleans()
    return st.builds(
        Outcome, st.just(False), st.booleans(), length, budgets, references,
        truncated=st.booleans(), easy=tag, repetition=share, problem_id=problems,
    )  # fmt: skip


tokens = st.integers(0, CAP)
well_formed = finished(CAP)
others = st.lists(well_formed | malformed(CAP), max_size=4)
groups = st.lists(finished(10**9) | malformed(10**9), min_size=1, max_size=8)
progresses = st.floats(0, 1)
lengths_to_compare = st.lists(tokens, min_size=2, max_size=6)


MALFORMED_LAST = {"accuracy", "budget_cosine", "budget_gauss"}
"""Rewards for which malformed is worse than wrong. For all others it is the same as wrong."""
WRONG_MAY_WIN = {
    "l1_exact": "the penalty for missing the requested length is unbounded",
    "shorterbetter": "the penalty for missing the shortest right length is unbounded",
}
"""Rewards in which a wrong answer can outscore a correct one, and why."""
LONGER_MAY_WIN = {
    "budget_cosine": "outside the window all lengths earn the same, and b_best is not the shortest length",
    "budget_gauss": "b_best is not the shortest length",
    "l1_exact": "the requested length is best, not the shortest",
}
"""Rewards in which a longer correct answer can outscore a shorter one of its group, and why."""
LONGER_WRONG_MAY_WIN = {
    "budget_cosine": "b_best of a wrong answer is (1 + alpha) b, so that it explores longer",
    "budget_gauss": "b_best of a wrong answer is (1 + alpha) b, so that it explores longer",
    "cosine": "a longer wrong answer is less bad, up to the longest length",
    "dast": "below the problem's budget a longer wrong answer is less bad",
    "l1_exact": "the requested length is best, not the shortest",
    "laser_de": "a wrong answer beyond the target earns the bonus, so that it keeps exploring",
    "shorterbetter": "the shortest right length is best for wrong answers too; if nobody is right, the mean",
}
"""Rewards in which a longer wrong answer can outscore a shorter one of its group, and why."""
LENGTH_DOES_NOT_COUNT = {
    "accuracy": "the baseline depends on verdict and format only",
}
"""Rewards in which the shorter of two correct answers earns no more, and why."""


def of_these_lengths(outcome: Outcome, lengths: list[int]) -> list[Outcome]:
    """Copies of one outcome with these lengths, shortest first."""
    return [replace(outcome, length=length) for length in sorted(lengths)]


def rewards_named(names: Collection[str]) -> pytest.MarkDecorator:
    """Parametrize a test with the rewards of these names."""
    chosen = {key: reward for key, reward in zip(IDS, REWARDS, strict=True) if reward.name in names}
    return pytest.mark.parametrize("reward", chosen.values(), ids=chosen)


def test_the_built_in_rewards_are_found_by_module() -> None:
    assert {"accuracy", "budget_cosine", "budget_gauss"} <= set(reward_names())
    assert not {"self_budgeter", "reward", "group"} & set(reward_names())


def test_the_tables_of_exceptions_name_built_in_rewards() -> None:
    exceptions = (WRONG_MAY_WIN, LONGER_MAY_WIN, LONGER_WRONG_MAY_WIN, LENGTH_DOES_NOT_COUNT)
    for table in (AMID_TRAINING, MALFORMED_LAST, *exceptions):
        assert set(table) <= set(DEFAULT)


@every_reward
@given(group=groups, progress=progresses)
def test_rewards_are_finite_and_the_sum_of_their_parts(reward: Reward, group: list[Outcome], progress: float) -> None:
    rewards, parts = reward(group, progress), reward.parts(group, progress)
    assert all(map(math.isfinite, rewards))
    assert all(len(column) == len(group) for column in parts.values())
    for index, value in enumerate(rewards):
        assert value == pytest.approx(math.fsum(column[index] for column in parts.values()))


@every_reward
@given(group=groups, progress=progresses, data=st.data())
def test_rewards_do_not_depend_on_the_order_of_the_group(
    reward: Reward, group: list[Outcome], progress: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(group))))
    rewards = reward(group, progress)
    assert reward([group[index] for index in order], progress) == [rewards[index] for index in order]


@rewards_named(MALFORMED_LAST)
@given(outcome=well_formed, other_length=tokens, progress=progresses)
def test_correct_beats_wrong_at_the_same_budget_and_malformed_is_never_better(
    reward: Reward, outcome: Outcome, other_length: int, progress: float
) -> None:
    correct = replace(outcome, correct=True)
    wrong = replace(outcome, correct=False, length=other_length)
    broken = replace(outcome, correct=True, well_formed=False)
    reward_correct, reward_wrong, reward_broken = reward([correct, wrong, broken], progress)
    assert reward_correct > reward_wrong > reward_broken


@rewards_named(set(DEFAULT) - set(WRONG_MAY_WIN))
@given(correct=well_formed, wrong=well_formed, others=others, progress=progresses)
def test_no_wrong_answer_outscores_a_correct_one_whatever_the_budgets(
    reward: Reward, correct: Outcome, wrong: Outcome, others: list[Outcome], progress: float
) -> None:
    group = [replace(correct, correct=True), replace(wrong, correct=False), *others]
    reward_correct, reward_wrong, *_ = reward(group, progress)
    assert reward_correct >= reward_wrong


@rewards_named(set(DEFAULT) - set(LONGER_MAY_WIN))
@given(outcome=well_formed, lengths=lengths_to_compare, others=others, progress=progresses)
def test_of_two_correct_answers_the_longer_never_earns_more(
    reward: Reward, outcome: Outcome, lengths: list[int], others: list[Outcome], progress: float
) -> None:
    group = of_these_lengths(replace(outcome, correct=True), lengths)
    rewards = reward([*group, *others], progress)[: len(group)]
    assert rewards == sorted(rewards, reverse=True)


@pytest.mark.parametrize("name", sorted(set(DEFAULT) - set(LONGER_MAY_WIN)))
def test_of_two_correct_answers_the_shorter_earns_more(name: str) -> None:
    reward = (DEFAULT | CHANGED)[name]
    group = [Outcome(True, correct, length, 2000, problem_id="p", easy=True) for correct, length in PAIR_AND_WRONG]
    shorter, longer, wrong = reward(group, progress=1)
    assert shorter == longer if name in LENGTH_DOES_NOT_COUNT else shorter > longer
    assert shorter > wrong


@pytest.mark.parametrize("name", sorted(set(DEFAULT) - set(LENGTH_DOES_NOT_COUNT)))
def test_a_reward_says_whether_length_counts_in_a_single_response(name: str) -> None:
    """Evaluations during training have one response per problem, and choose the best policy by this."""
    reward, one = DEFAULT[name], Outcome(True, True, 0, 2000, problem_id="p", easy=True)
    rewards = {reward([replace(one, length=length)], progress=1)[0] for length in range(100, CAP, 100)}
    assert reward.scores_single_responses == (len(rewards) > 1)


PAIR_AND_WRONG = [(True, 500), (True, 1000), (False, 800)]


@rewards_named(set(DEFAULT) - set(LONGER_WRONG_MAY_WIN))
@given(outcome=well_formed, lengths=lengths_to_compare, others=others, progress=progresses)
def test_of_two_wrong_answers_the_longer_never_earns_more(
    reward: Reward, outcome: Outcome, lengths: list[int], others: list[Outcome], progress: float
) -> None:
    group = of_these_lengths(replace(outcome, correct=False), lengths)
    rewards = reward([*group, *others], progress)[: len(group)]
    assert rewards == sorted(rewards, reverse=True)


@rewards_named(set(DEFAULT) - set(LONGER_WRONG_MAY_WIN) | MALFORMED_LAST)
@given(outcome=malformed(CAP), lengths=lengths_to_compare, others=others, progress=progresses)
def test_of_two_malformed_responses_the_longer_never_earns_more(
    reward: Reward, outcome: Outcome, lengths: list[int], others: list[Outcome], progress: float
) -> None:
    group = of_these_lengths(outcome, lengths)
    rewards = reward([*group, *others], progress)[: len(group)]
    assert rewards == sorted(rewards, reverse=True)


@pytest.mark.parametrize("name", LONGER_WRONG_MAY_WIN)
def test_some_longer_wrong_answer_does_earn_more_where_that_is_said(name: str) -> None:
    reward = (DEFAULT | CHANGED)[name]
    wrong = of_these_lengths(Outcome(True, False, 0, 2000, problem_id="p"), [100, 600, 1900, 2100, 3000])
    right = Outcome(True, True, 500, 2000, problem_id="p")
    rewards = reward([*wrong, right], progress=1)[: len(wrong)]
    assert rewards != sorted(rewards, reverse=True)


@pytest.mark.parametrize("name", WRONG_MAY_WIN)
def test_some_wrong_answer_does_outscore_a_correct_one_where_that_is_said(name: str) -> None:
    reward = (DEFAULT | CHANGED)[name]

    def wrong_wins(group: list[Outcome]) -> bool:
        correct, wrong, *_ = reward(group, progress=1)
        return wrong > correct

    assert any(map(wrong_wins, some_groups([True, False])))


@pytest.mark.parametrize("name", LONGER_MAY_WIN)
def test_some_longer_correct_answer_does_earn_more_where_that_is_said(name: str) -> None:
    reward = (DEFAULT | CHANGED)[name]

    def longer_wins(group: list[Outcome]) -> bool:
        short, long, *_ = sorted(group[:2], key=lambda outcome: outcome.length)
        shorter, longer, *_ = reward([short, long, *group[2:]], progress=1)
        return longer > shorter

    assert any(map(longer_wins, some_groups([True, True])))


def some_groups(verdicts: Sequence[bool]) -> Iterator[list[Outcome]]:
    """Well-formed answers to one problem, with one budget: two of these verdicts, and a wrong and a right one."""
    random = Random(0)
    for _ in range(500):
        one = Outcome(True, False, 0, random.choice([500, 2000]), random.choice([800, 5000]), easy=True, problem_id="p")
        yield [replace(one, correct=verdict, length=random.randint(50, 6000)) for verdict in (*verdicts, False, True)]


@every_reward
@given(outcome=well_formed, others=others, progress=progresses)
def test_an_answer_that_was_cut_off_never_earns_more_than_if_it_had_ended(
    reward: Reward, outcome: Outcome, others: list[Outcome], progress: float
) -> None:
    ended = replace(outcome, correct=True)
    cut = replace(ended, well_formed=False, truncated=True)
    assert reward([cut, *others], progress)[0] <= reward([ended, *others], progress)[0]


@pytest.mark.slow
@rewards_named({name for name, reward in DEFAULT.items() if reward.controller().updated_fields})
@given(rollouts=st.lists(st.lists(groups, min_size=1, max_size=3), min_size=1, max_size=5), data=st.data())
def test_what_a_reward_remembers_is_saved_and_resumed(
    reward: Reward, rollouts: list[list[list[Outcome]]], data: st.DataObject
) -> None:
    saved_at = data.draw(st.integers(0, len(rollouts)))
    first, second = reward.controller(), reward.controller()
    learn(first, rollouts[:saved_at])
    saved = json.dumps(first.state_dict(), allow_nan=False)
    learn(first, rollouts[saved_at:])
    second.load_state_dict(json.loads(saved))
    learn(second, rollouts[saved_at:])
    assert second.reward == first.reward
    assert second.state_dict() == first.state_dict()
    assert all(map(math.isfinite, second.reward(rollouts[0][0], progress=1)))


def learn(controller: Controller, rollouts: list[list[list[Outcome]]]) -> None:
    for rollout in rollouts:
        controller.update(rollout)
        controller.validate(rollout)


@every_reward
def test_rewards_travel_between_processes(reward: Reward) -> None:
    assert pickle.loads(pickle.dumps(reward)) == reward


@every_reward
def test_rewards_name_themselves_and_a_known_format(reward: Reward) -> None:
    assert type(reward) is reward_class(reward.name)
    assert reward.needs_format is None or reward.needs_format in format_names()


@every_reward
def test_the_yaml_of_a_reward_spells_out_its_defaults(reward: Reward) -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / f"{reward.name}.yaml"))
    defaults = {field.name: getattr(type(reward)(), field.name) for field in fields(reward)}
    assert written == {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert isinstance(written, dict)
    assert next(iter(written)) == "name"


def test_every_yaml_has_a_shape() -> None:
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == reward_names()


@pytest.mark.parametrize("kind", [type(reward) for reward in REWARDS if isinstance(reward, SelfBudgeter)])
@given(
    start=st.floats(0.01, 10),
    share=st.floats(0.01, 1),
    end_at=st.floats(0.01, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    early=progresses,
    late=progresses,
)
def test_alpha_never_rises_and_holds_its_floor(
    kind: type[SelfBudgeter],
    start: float,
    share: float,
    end_at: float,
    schedule: str,
    early: float,
    late: float,
) -> None:
    end = start * share
    reward = kind(alpha_start=start, alpha_end=end, alpha_schedule=schedule, alpha_end_at=end_at)
    assert reward.alpha(0) == start
    assert reward.alpha(max(early, late)) <= reward.alpha(min(early, late)) * (1 + 1e-12)
    if schedule != "constant":
        assert reward.alpha(1) == end
        if late >= end_at:
            assert reward.alpha(late) == end
