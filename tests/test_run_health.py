"""Tests of health warnings: each appears once with numbers and advice, and healthy runs get none."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.runs.health import START_ROWS, SYMPTOMS, HealthMonitor

HEALTHY = {
    "loss": -0.01,
    "grad_norm": 0.4,
    "groups_equal": 0.1,
    "truncated": 0.01,
    "format": 0.98,
    "budget": 50.0,
    "length": 45.0,
    "budget_entropy": 2.0,
    "budget_level_rho": 0.7,
    "kl": 0.02,
    "entropy": 0.3,
    "verify/timeouts": 0.0,
}
SICK: dict[str, tuple[dict[str, Any], str]] = {
    "not_finite": ({"loss": math.nan}, "loss is not a number"),
    "groups_equal": ({"groups_equal": 1.0}, "100 % of the groups"),
    "truncated": ({"truncated": 0.95}, "95 % of the completions"),
    "format": ({"format": 0.2}, "only 20 %"),
    "budget_collapsed": ({"budget_entropy": 0.05, "budget_level_rho": None}, "one number"),
    "budget_over_length": ({"length": 20.0}, r"budget \(50\).*length \(20\)"),
    "budget_grew": ({"budget": 110.0, "length": 100.0}, r"budget \(110\).*start \(50\)"),
    "kl": ({"kl": 3.0}, "3 nats per token"),
    "entropy": ({"entropy": 0.01}, "from 0.3 to 0.01"),
    "timeouts": ({"verify/timeouts": 0.1}, "10 % of the answers"),
}


def _rows(*phases: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [{**HEALTHY, **change} for count, change in phases for _ in range(count)]
    return [{"step": step, **row} for step, row in enumerate(rows, start=1)]


def _warnings(rows: Iterable[dict[str, Any]]) -> dict[int, list[str]]:
    monitor = HealthMonitor()
    said = {row["step"]: monitor.observe(row) for row in rows}
    return {step: texts for step, texts in said.items() if texts}


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_symptom_is_reported_once_each_time_it_begins(name: str) -> None:
    change, expected = SICK[name]
    patience = SYMPTOMS[name].patience
    said = _warnings(_rows((START_ROWS, {}), (20, change), (1, {}), (20, change)))
    begin = START_ROWS + patience
    assert list(said) == [begin, begin + 21]
    (text,) = said[begin]
    assert text.startswith(f"step {begin}: ")
    assert text.endswith(f". {SYMPTOMS[name].advice}")
    assert re.search(expected, text)


@pytest.mark.parametrize("name", [name for name in SYMPTOMS if SYMPTOMS[name].patience > 1])
def test_a_short_symptom_is_not_reported(name: str) -> None:
    assert _warnings(_rows((START_ROWS, {}), (SYMPTOMS[name].patience - 1, SICK[name][0]), (20, {}))) == {}


def test_a_healthy_run_is_left_alone() -> None:
    assert _warnings(_rows((50, {}))) == {}


def test_a_sure_policy_whose_budgets_follow_the_level_has_not_collapsed() -> None:
    assert _warnings(_rows((50, {"budget_entropy": 0.04, "budget_level_rho": 0.89}))) == {}


def test_equal_budgets_have_no_rank_correlation_which_is_a_collapse_too() -> None:
    rows = _rows((START_ROWS, {}), (5, {"budget_entropy": 0.05}))
    for row in rows[START_ROWS:]:
        del row["budget_level_rho"]
    assert list(_warnings(rows)) == [START_ROWS + 5]


def test_without_levels_only_a_budget_without_any_choice_has_collapsed() -> None:
    rows = [{"step": step, "budget_entropy": 0.04} for step in range(1, 20)]
    assert _warnings(rows) == {}
    assert list(_warnings([{**row, "budget_entropy": 0.001} for row in rows])) == [5]


def test_rows_of_other_stages_are_not_judged_for_what_they_lack() -> None:
    assert _warnings({"step": step, "loss": 2.0} for step in range(50)) == {}


_ROW = st.fixed_dictionaries({}, optional={key: st.none() | st.floats(0, 200) | st.just(math.nan) for key in HEALTHY})


@given(st.lists(_ROW, max_size=40), st.integers(0, 40))
def test_warnings_after_a_resume_equal_those_of_an_uninterrupted_run(metrics: list[dict[str, Any]], cut: int) -> None:
    """After a resume, rows come from metrics.jsonl, where NaN and infinities are null."""
    rows = [{"step": step, **row} for step, row in enumerate(metrics)]
    monitor, first, resumed = HealthMonitor(), HealthMonitor(), HealthMonitor()
    whole = [warning for row in rows for warning in monitor.observe(row)]
    before = [warning for row in rows[:cut] for warning in first.observe(row)]
    for row in rows[:cut]:
        stored = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in row.items()}
        resumed.observe(json.loads(json.dumps(stored)))
    after = [warning for row in rows[cut:] for warning in resumed.observe(row)]
    assert before + after == whole
