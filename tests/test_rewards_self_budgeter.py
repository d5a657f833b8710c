"""SelfBudgeter's rewards against the numbers that follow from the paper's formulas."""

import math

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.budget_cosine import BudgetCosine
from budgetrl.rewards.budget_gauss import BudgetGauss
from budgetrl.rewards.self_budgeter import SelfBudgeter

# Budget 1000 within b_max: alpha, length, reward of a correct answer, reward of a wrong one.
COSINE_VECTORS = [
    (0.1, 899, 0.5, -0.5),
    (0.1, 900, 1.0, -0.5),
    (0.1, 950, 0.9268, -0.4268),
    (0.1, 1000, 0.75, -0.25),
    (0.1, 1050, 0.5732, -0.0732),
    (0.1, 1100, 0.5, 0.0),
    (0.1, 1101, 0.5, -0.5),
    (0.2, 900, 0.9268, -0.4268),
    (0.2, 1100, 0.5732, -0.0732),
    (1.0, 500, 0.9268, -0.4268),
    (6.0, 500, 0.7826, -0.2826),
    (6.0, 3000, 0.625, -0.125),
    (6.0, 7000, 0.5, 0.0),
    (6.0, 7001, 0.5, -0.5),
]


def constant(alpha: float, kind: type[SelfBudgeter] = BudgetCosine) -> SelfBudgeter:
    return kind(alpha_start=alpha, alpha_schedule="constant")


def worth(reward: SelfBudgeter, outcome: Outcome, progress: float = 0.5) -> float:
    return reward([outcome], progress)[0]


def outcome(correct: bool, length: int, budget: int = 1000, b_max: float = math.inf) -> Outcome:
    return Outcome(well_formed=True, correct=correct, length=length, budget=budget, b_max=b_max)


@pytest.mark.parametrize(("alpha", "length", "correct", "wrong"), COSINE_VECTORS)
@pytest.mark.parametrize(("b_max", "penalty"), [(math.inf, 0.0), (1000, 0.0), (999, -0.4)])
def test_cosine_vectors(alpha: float, length: int, correct: float, wrong: float, b_max: float, penalty: float) -> None:
    reward = constant(alpha)
    assert worth(reward, outcome(True, length, b_max=b_max)) == pytest.approx(correct + penalty, abs=5e-5)
    assert worth(reward, outcome(False, length, b_max=b_max)) == pytest.approx(wrong + penalty, abs=5e-5)


@pytest.mark.parametrize(("budget", "alpha", "half_width"), [(100, 0.29, 29), (30, 0.1, 3), (10, 0.7, 7)])
def test_edges_of_the_window_are_inside_whatever_the_rounding(budget: int, alpha: float, half_width: int) -> None:
    reward = constant(alpha)
    assert worth(reward, outcome(True, budget - half_width, budget)) == pytest.approx(1.0)
    assert worth(reward, outcome(True, budget - half_width - 1, budget)) == 0.5
    assert worth(reward, outcome(False, budget + half_width, budget)) == pytest.approx(0.0)
    assert worth(reward, outcome(False, budget + half_width + 1, budget)) == -0.5


def test_edge_is_inside_when_alpha_comes_from_the_schedule() -> None:
    reward = BudgetCosine(alpha_start=1.0, alpha_end=0.1)  # 1.0 - (1.0 - 0.1) is below 0.1 in floating point
    assert worth(reward, outcome(True, 900), progress=1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 6.0])
def test_gauss_follows_its_formula(alpha: float) -> None:
    reward = constant(alpha, BudgetGauss)
    for length in (1, 700, 900, 1000, 1100, 1300, 8000):
        for correct, low, best in ((True, 0.5, (1 - alpha) * 1000), (False, -0.5, (1 + alpha) * 1000)):
            kernel = math.exp(-(((length - best) / (alpha * 1000)) ** 2) / 2)
            assert worth(reward, outcome(correct, length)) == pytest.approx(low + 0.5 * kernel, abs=1e-12)


def test_gauss_has_no_cliff_past_the_best_length() -> None:
    cosine, gauss = constant(0.1), constant(0.1, BudgetGauss)
    just_past, best = outcome(True, 899), outcome(True, 900)
    assert worth(cosine, best) - worth(cosine, just_past) == pytest.approx(0.5)
    assert worth(gauss, best) - worth(gauss, just_past) < 1e-3


def test_parts_of_a_group() -> None:
    group = [
        outcome(True, 900, b_max=500),
        outcome(False, 1100),
        Outcome(False, True, 10, budget=9999, b_max=5),
    ]
    parts = constant(0.1).parts(group, progress=0)
    assert parts["format"] == [0.0, 0.0, -1.0]
    assert parts["budget_penalty"] == [-0.4, 0.0, 0.0]
    assert parts["adherence"] == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize("budget", [None, 0, -5])
def test_a_well_formed_outcome_needs_a_budget(budget: int | None) -> None:
    unbudgeted = Outcome(well_formed=True, correct=True, length=3, budget=budget, problem_id="p7")
    with pytest.raises(ValueError, match=r"^budget: .*'p7'"):
        constant(0.1)([unbudgeted], 0)


@pytest.mark.parametrize(
    ("schedule", "progress", "alpha"),
    [
        ("constant", 0.0, 6.0),
        ("constant", 1.0, 6.0),
        ("linear", 0.0, 6.0),
        ("linear", 0.5, 3.05),
        ("linear", 1.0, 0.1),
        ("cosine", 0.25, 6.0 - 5.9 * (1 - math.sqrt(0.5)) / 2),
        ("cosine", 0.5, 3.05),
        ("cosine", 1.0, 0.1),
    ],
)
def test_alpha_over_all_of_training(schedule: str, progress: float, alpha: float) -> None:
    reward = BudgetCosine(alpha_start=6.0, alpha_end=0.1, alpha_schedule=schedule, alpha_end_at=1.0)
    assert reward.schedule(progress) == {"alpha": pytest.approx(alpha)}


def test_alpha_reaches_its_floor_early_and_stays() -> None:
    reward = BudgetCosine(alpha_start=1.0, alpha_end=0.1, alpha_end_at=0.5)
    assert reward.alpha(0.25) == pytest.approx(0.55)
    assert [reward.alpha(progress) for progress in (0.5, 0.75, 1.0)] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_progress_is_a_share(progress: float) -> None:
    with pytest.raises(ValueError, match=r"^progress: "):
        BudgetCosine().alpha(progress)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("r_b", {"r_b": 0.1}),
        ("correct_min", {"correct_min": 1.5}),
        ("correct_min", {"correct_min": -0.1}),
        ("wrong_min", {"wrong_min": 0.2}),
        ("r_f", {"r_f": math.nan}),
        ("wrong_max", {"wrong_max": math.inf}),
        ("alpha_start", {"alpha_start": 0.0}),
        ("alpha_end", {"alpha_end": -0.1}),
        ("alpha_end", {"alpha_end": 1.5}),
        ("alpha_schedule", {"alpha_schedule": "step"}),
        ("alpha_end_at", {"alpha_end_at": 0.0}),
        ("alpha_end_at", {"alpha_end_at": 1.1}),
        ("width", {"width": 0.0}),
    ],
)
def test_refused_settings_name_the_field(field: str, changes: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        BudgetGauss(**changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "changes",
    [
        {"r_b": 0.0},
        {"r_b": -0.5},
        {"correct_min": 0.3, "wrong_max": 0.2, "r_b": -0.1, "wrong_min": 0.1},  # 0.3 - 0.1 < 0.2 when rounded
        {"correct_min": 1.0, "wrong_max": -0.5},  # the verdict alone
        {"alpha_start": 0.05, "alpha_schedule": "constant"},
        {"alpha_start": 0.1, "alpha_end": 0.1},
    ],
)
def test_settings_on_the_bound_are_taken(changes: dict[str, float | str]) -> None:
    BudgetCosine(**changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "keys"),
    [({}, []), ({"r_b": -0.8}, ["reward.r_b", "reward.r_f"]), ({"r_f": -0.8}, ["reward.r_f"])],
)
def test_settings_across_the_papers_condition_are_noted(changes: dict[str, float], keys: list[str]) -> None:
    assert [message.key for message in BudgetCosine(**changes).warnings()] == keys
