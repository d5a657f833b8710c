"""What must hold for every reward, found by name so that a new one is tested without a word here."""

import math
import pickle
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from budgetrl.budget.format import FORMATS
from budgetrl.budget.records import Outcome
from budgetrl.rewards.registry import shape_class, shape_names
from budgetrl.rewards.self_budgeter import SelfBudgeter
from budgetrl.rewards.shape import Shape

CONF = Path(__file__).parents[1] / "conf" / "reward"
CAP = 20_000
"""Longest completion, for the shapes that read it."""
SHAPES = [shape_class(name)().within(CAP) for name in shape_names()]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])

tokens = st.integers(0, 10**9)
budgets = st.integers(1, 10**9 - 1)
references = st.one_of(st.just(math.inf), tokens)
well_formed = st.builds(Outcome, st.just(True), st.booleans(), tokens, budgets, references)
malformed = st.builds(Outcome, st.just(False), st.booleans(), tokens, budgets, references)
groups = st.lists(well_formed | malformed, min_size=1, max_size=8)
progresses = st.floats(0, 1)


MALFORMED_LAST = {"accuracy", "budget_cosine", "budget_gauss"}
"""Shapes with a format of their own to keep: malformed is worse than wrong. To the others it is one way to be wrong."""
WRONG_MAY_WIN = {
    "l1_exact": "the price of missing the length asked for has no bound",
}
"""Shapes in which a wrong answer can outscore a correct one, and why."""
LONGER_MAY_WIN = {
    "budget_cosine": "outside the window all lengths earn the same, and b_best is not the shortest length",
    "budget_gauss": "b_best is not the shortest length",
    "l1_exact": "the length asked for is best, not the shortest",
}
"""Shapes in which a longer correct answer can outscore a shorter one of its group, and why."""


def those(names: Collection[str]) -> pytest.MarkDecorator:
    """For the shapes of these names."""
    chosen = [shape for shape in SHAPES if shape.name in names]
    return pytest.mark.parametrize("shape", chosen, ids=[shape.name for shape in chosen])


def test_the_built_in_rewards_are_found_by_module() -> None:
    assert {"accuracy", "budget_cosine", "budget_gauss"} <= set(shape_names())
    assert not {"self_budgeter", "shape", "group"} & set(shape_names())


@every_shape
@given(group=groups, progress=progresses)
def test_rewards_are_finite_and_the_sum_of_their_parts(shape: Shape, group: list[Outcome], progress: float) -> None:
    rewards, parts = shape(group, progress), shape.parts(group, progress)
    assert all(math.isfinite(reward) for reward in rewards)
    assert all(len(column) == len(group) for column in parts.values())
    for index, reward in enumerate(rewards):
        assert reward == pytest.approx(math.fsum(column[index] for column in parts.values()))


@every_shape
@given(group=groups, progress=progresses, data=st.data())
def test_rewards_do_not_depend_on_the_order_of_the_group(
    shape: Shape, group: list[Outcome], progress: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(group))))
    rewards = shape(group, progress)
    assert shape([group[index] for index in order], progress) == [rewards[index] for index in order]


@those(MALFORMED_LAST)
@given(outcome=well_formed, other_length=tokens, progress=progresses)
def test_correct_beats_wrong_at_the_same_budget_and_malformed_is_never_better(
    shape: Shape, outcome: Outcome, other_length: int, progress: float
) -> None:
    correct = replace(outcome, correct=True)
    wrong = replace(outcome, correct=False, length=other_length)
    broken = replace(outcome, correct=True, well_formed=False)
    reward_correct, reward_wrong, reward_broken = shape([correct, wrong, broken], progress)
    assert reward_correct > reward_wrong > reward_broken


@those({shape.name for shape in SHAPES} - set(WRONG_MAY_WIN))
@given(
    correct=well_formed, wrong=well_formed, others=st.lists(well_formed | malformed, max_size=4), progress=progresses
)
def test_no_wrong_answer_outscores_a_correct_one_whatever_the_budgets(
    shape: Shape, correct: Outcome, wrong: Outcome, others: list[Outcome], progress: float
) -> None:
    group = [replace(correct, correct=True), replace(wrong, correct=False), *others]
    reward_correct, reward_wrong, *_ = shape(group, progress)
    assert reward_correct >= reward_wrong


@those({shape.name for shape in SHAPES} - set(LONGER_MAY_WIN))
@given(outcome=well_formed, lengths=st.lists(tokens, min_size=2, max_size=6), progress=progresses, data=st.data())
def test_of_two_correct_answers_the_longer_never_earns_more(
    shape: Shape, outcome: Outcome, lengths: list[int], progress: float, data: st.DataObject
) -> None:
    others = data.draw(st.lists(well_formed | malformed, max_size=4))
    group = [replace(outcome, correct=True, length=length) for length in sorted(lengths)]
    rewards = shape([*group, *others], progress)[: len(group)]
    assert rewards == sorted(rewards, reverse=True)


@every_shape
def test_shapes_travel_between_processes(shape: Shape) -> None:
    assert pickle.loads(pickle.dumps(shape)) == shape


@every_shape
def test_shapes_name_themselves_and_a_known_format(shape: Shape) -> None:
    assert type(shape) is shape_class(shape.name)
    assert shape.needs_format is None or shape.needs_format in FORMATS


@every_shape
def test_the_yaml_of_a_shape_spells_out_its_defaults(shape: Shape) -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / f"{shape.name}.yaml"))
    defaults = {field.name: getattr(type(shape)(), field.name) for field in fields(shape)}
    assert written == {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert isinstance(written, dict)
    assert next(iter(written)) == "name"


def test_every_yaml_has_a_shape() -> None:
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == shape_names()


@pytest.mark.parametrize("kind", [type(shape) for shape in SHAPES if isinstance(shape, SelfBudgeter)])
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
    shape = kind(alpha_start=start, alpha_end=end, alpha_schedule=schedule, alpha_end_at=end_at)
    assert shape.alpha(0) == start
    assert shape.alpha(max(early, late)) <= shape.alpha(min(early, late)) * (1 + 1e-12)
    if schedule != "constant":
        assert shape.alpha(1) == end
        if late >= end_at:
            assert shape.alpha(late) == end
