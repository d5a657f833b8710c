"""AALC: how validations change the reward, and that a resumed run continues unchanged."""

import json
from dataclasses import replace

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.aalc import Aalc
from budgetrl.settings.algorithm import AdvantageSettings, Algorithm, GroupSettings
from budgetrl.training.advantages import Group, fraction_equal, group_advantages

RIGHT = Outcome(well_formed=True, correct=True, length=512)
WRONG = replace(RIGHT, correct=False)


def evaluation(right: int, of: int) -> list[list[Outcome]]:
    """Held-out problems, one response each."""
    return [[RIGHT]] * right + [[WRONG]] * (of - right)


def test_before_the_first_validation_only_the_verdict_counts() -> None:
    group = [RIGHT, WRONG, replace(RIGHT, truncated=True, well_formed=False), replace(RIGHT, length=5)]
    assert Aalc()(group, 0) == [1.0, 0.0, 0.0, 1.0]


def test_wrong_answers_are_weighed_by_length_too() -> None:
    reward = Aalc(validation_accuracy=1.0)
    assert reward([WRONG, replace(WRONG, length=256)], 0) == pytest.approx([0.5e-6, 0.75e-6])


def test_beyond_the_longest_length_all_are_alike() -> None:
    reward = Aalc(validation_accuracy=1.0)
    assert reward([replace(RIGHT, length=1024), replace(RIGHT, length=3000)], 0) == [0.9, 0.9]
    assert Aalc(max_length=None).with_max_length(420).max_length == 420
    with pytest.raises(ValueError, match="^max_length: must be set"):
        replace(reward, max_length=None)([RIGHT], 0)


def test_a_constant_target_stays() -> None:
    controller = Aalc(target_accuracy=0.8).controller()
    controller.validate(evaluation(4, of=10))
    assert (controller.reward.validation_accuracy, controller.reward.target_accuracy) == (0.4, 0.8)
    assert controller.reward.schedule(0) == {"target_attained": 0.5, "target_accuracy": 0.8}
    controller.validate(evaluation(9, of=10))
    assert controller.reward.target_attained() == 1.0


def test_a_decaying_target_comes_down_to_the_best_accuracy() -> None:
    """Potentials: 0.4 at first; then min(0.3, 0.36), min(0.3, 0.27), min(0.1, 0.243)."""
    controller = Aalc(target_schedule="decay").controller()
    targets = []
    for right in (6, 7, 5, 9):
        controller.validate(evaluation(right, of=10))
        targets.append(controller.reward.target_accuracy)
    assert targets == pytest.approx([1.0, 1.0, 0.97, 1.0])


def test_a_decaying_target_is_1_after_the_first_validation_however_low() -> None:
    controller = Aalc(target_schedule="decay").controller()
    controller.validate(evaluation(0, of=10))
    assert controller.reward.target_accuracy == 1.0
    controller.validate(evaluation(0, of=10))
    assert controller.reward.target_accuracy == pytest.approx(0.9)


def test_truncated_answers_are_wrong_in_a_validation() -> None:
    controller = Aalc().controller()
    controller.validate([[RIGHT, replace(RIGHT, well_formed=False, truncated=True)]])
    assert controller.reward.validation_accuracy == 0.5


@pytest.mark.parametrize("seen", [0, 2])
def test_a_resumed_controller_goes_on_as_it_was(seen: int) -> None:
    whole, resumed = (Aalc(target_schedule="decay").controller() for _ in range(2))
    for right in (6, 4)[:seen]:
        whole.validate(evaluation(right, of=10))
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for controller in (whole, resumed):
        for right in (5, 7):
            controller.validate(evaluation(right, of=10))
    assert resumed.reward == whole.reward
    assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize(("longer", "share"), [(101, 1.0), (102, 0.0)])
def test_lengths_two_tokens_apart_are_told_apart(longer: int, share: float) -> None:
    group = [replace(RIGHT, length=length) for length in (100, longer)]
    assert fraction_equal([Aalc(validation_accuracy=1.0)(group, 0)]) == share


@pytest.mark.parametrize(
    ("weight", "by_group", "floor", "works"),
    [
        (1e-6, True, 1e-6, True),
        (1e-6, True, 9e-6, True),
        (1e-6, True, 1.1e-5, False),
        (1e-6, False, 0.0, False),
        (0.1, True, 0.01, True),
        (0.1, False, 0.01, True),
        (0.0, False, 0.01, True),
    ],
)
def test_an_algorithm_that_drowns_the_length_is_refused(
    weight: float, by_group: bool, floor: float, works: bool
) -> None:
    """A weight of 0 disables the length term, so it is not an error."""
    how = Algorithm(advantage=AdvantageSettings(scale="group" if by_group else "none", std_floor=floor))
    assert (Aalc(length_weight=weight).errors(how) == []) == works


def test_a_length_that_counts_in_dropped_groups_alone_is_refused() -> None:
    how = Algorithm(advantage=AdvantageSettings(std_floor=1e-6), groups=GroupSettings(drop_equal="verdict"))
    (error,) = Aalc().errors(how)
    assert error.key == "reward.length_weight" and error.text.startswith(
        "1e-06 counts only in groups with equal verdicts"
    )
    assert not Aalc(length_weight=0.1).errors(how) and not Aalc(length_weight=0.0).errors(how)


@pytest.mark.parametrize(("floor", "worth"), [(1e-6, 0.2929), (1e-5, 0.0467), (1e-4, 0.0050), (0.01, 0.00005)])
def test_what_the_length_is_worth_beside_a_floor(floor: float, worth: float) -> None:
    """Right answers of no length and of L_max: 5e-7 from their mean, over their std of 7.07e-7 and the floor."""
    rewards = Aalc(validation_accuracy=1.0)([replace(RIGHT, length=length) for length in (0, 1024)], 0)
    (advantages,) = group_advantages(
        [Group(rewards, {}, [1, 1], [True, True], [True, True])], AdvantageSettings(std_floor=floor)
    )
    assert advantages == pytest.approx([worth, -worth], rel=0.02)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("length_weight", -1.0),
        ("beta", 0.0),
        ("max_length", 0),
        ("target_accuracy", 0.0),
        ("target_schedule", "cosine"),
        ("validation_accuracy", 1.5),
    ],
)
def test_refused_settings_name_the_field(field: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Aalc(**{field: value})  # pyright: ignore[reportArgumentType]
