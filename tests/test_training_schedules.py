import math
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from budgetrl.core.schedules import SCHEDULES, anneal
from budgetrl.settings.algorithm import Algorithm, BudgetEntropySettings
from budgetrl.settings.optimizer import Optimizer, learning_rate
from budgetrl.settings.strict import build

share = st.floats(0, 1)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("constant", (6.0, 6.0, 6.0, 6.0)),
        ("linear", (6.0, 4.0, 2.0, 2.0)),
        ("cosine", (6.0, 4.0, 2.0, 2.0)),
    ],
)
def test_anneal_by_hand(kind: str, values: tuple[float, ...]) -> None:
    assert [anneal(kind, 6.0, 2.0, p, end_at=0.5) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(values)


def test_a_cosine_is_flat_at_its_ends() -> None:
    assert anneal("cosine", 1.0, 0.0, 0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@given(share, share)
def test_anneal_is_exact_at_its_ends_and_holds_the_last(end: float, end_at: float) -> None:
    for kind in ("linear", "cosine"):
        assert anneal(kind, 1.0, end, end_at, end_at) == anneal(kind, 1.0, end, 1.0, end_at) == end
    assert end_at == 0 or all(anneal(kind, 1.0, end, 0.0, end_at) == 1.0 for kind in SCHEDULES)


@given(st.sampled_from(SCHEDULES), share, share)
def test_anneal_never_rises_where_it_should_fall(kind: str, a: float, b: float) -> None:
    early, late = sorted((a, b))
    assert anneal(kind, 6.0, 0.1, late) <= anneal(kind, 6.0, 0.1, early) + 1e-12


@pytest.mark.parametrize(("kind", "progress", "end_at"), [("stairs", 0, 1), ("linear", 1.1, 1), ("linear", 0, -1)])
def test_anneal_refuses(kind: str, progress: float, end_at: float) -> None:
    with pytest.raises(ValueError, match=r"no schedule 'stairs'|^progress: |^end_at: "):
        anneal(kind, 1.0, 0.0, progress, end_at)


def rates(total: int, **settings: object) -> list[float]:
    optimizer = Optimizer(lr=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate(step, total, optimizer) for step in range(total)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"warmup_steps": 0}, [1.0, 1.0, 1.0, 1.0]),
        ({"warmup_steps": 2}, [0.5, 1.0, 1.0, 1.0]),
        ({"warmup_steps": 8}, [0.125, 0.25, 0.375, 0.5]),
        ({"warmup_steps": 0, "schedule": "linear", "final_fraction": 0.2}, [1.0, 0.8, 0.6, 0.4]),
        ({"warmup_steps": 1, "schedule": "cosine"}, [1.0, 1.0, 0.75, 0.25]),
    ],
)
def test_learning_rate_by_hand(settings: dict, expected: list[float]) -> None:
    assert rates(4, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("step", [-1, 4])
def test_learning_rate_has_a_last_step(step: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 3"):
        learning_rate(step, 4, Optimizer())


def test_budget_entropy_falls_and_is_held() -> None:
    bonus = BudgetEntropySettings(start=0.004, end=0.002, end_at=0.5)
    assert [bonus.at(p) for p in (0.0, 0.25, 0.5, 0.9)] == pytest.approx([0.004, 0.003, 0.002, 0.002])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("advantage.baseline", "median"),
        ("advantage.scale", "std"),
        ("loss.ratio_level", "prompt"),
        ("loss.surrogate", "ppo"),
        ("mismatch.correction", "truncate"),
        ("mismatch.cap", -1.0),
        ("loss.tau_negative", 0.0),
        ("groups.max_rollouts", 0),
        ("advantage.std_floor", -0.1),
        ("loss.clip_low", 1.1),
        ("loss.clip_high", math.nan),
        ("kl.coefficient", math.inf),
        ("kl.estimator", "k4"),
        ("loss.level", "prompt"),
        ("optimizer_steps_per_rollout", 0),
        ("budget_entropy.start", -1.0),
        ("budget_entropy.end", -1.0),
        ("budget_entropy.end_at", 1.5),
    ],
)
def test_algorithm_names_the_bad_field(field: str, value: object) -> None:
    group, _, name = field.rpartition(".")
    with pytest.raises(ValueError, match=rf"^algorithm\.{re.escape(field)}: "):
        build(Algorithm, {group: {name: value}} if group else {name: value}, "algorithm")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0.0),
        ("warmup_steps", -1),
        ("schedule", "stairs"),
        ("final_fraction", 2.0),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("weight_decay", -0.1),
        ("gradient_clipping", math.nan),
    ],
)
def test_optimizer_names_the_bad_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: "):
        Optimizer(**{field: value})  # type: ignore[arg-type]


def test_the_yaml_states_every_default() -> None:
    path = Path(__file__).parents[1] / "conf" / "algorithm" / "budget_grpo.yaml"
    assert OmegaConf.to_container(OmegaConf.load(path)) == asdict(Algorithm())


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("advantage.scale", {"per_component": True}),
        ("groups.max_rollouts", {"drop_equal": "reward", "max_rollouts": 1}),
        ("loss.dual_clip", {"dual_clip": 3.0, "surrogate": "cispo"}),
        ("loss.dual_clip", {"dual_clip": 1.2}),
        ("loss.dual_clip", {"dual_clip": math.inf}),
        ("mismatch.floor", {"floor": 0.5}),
        ("mismatch.floor", {"floor": 0.5, "correction": "token_truncate"}),
        ("mismatch.cap", {"correction": "token_mask", "floor": 2.0}),
    ],
)
def test_combinations_that_make_no_sense_name_the_key(field: str, settings: dict) -> None:
    group, _, _ = field.partition(".")
    with pytest.raises(ValueError, match=rf"^algorithm\.{re.escape(field)}: "):
        build(Algorithm, {group: settings}, "algorithm")
