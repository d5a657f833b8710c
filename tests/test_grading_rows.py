"""Rows of completions.jsonl: what is written of a graded response is read back."""

import math

import pytest

from budgetrl.core.records import Outcome, Problem
from budgetrl.formats.registry import format_class
from budgetrl.grading.grader import Graded, make_outcome
from budgetrl.grading.rows import (
    completion_row,
    grading_input_from_row,
    outcome_from_row,
    outcomes_by_problem,
    unprefilled_rows,
    verdict_from_row,
    verification_rates,
)
from budgetrl.grading.verifier import TIMED_OUT, UNREADABLE, Verdict

RIGHT = Verdict(correct=True, parsed=True, timed_out=False, answer="5")
PROBLEM = Problem("p", "2 3 ?", "5", 2)


@pytest.mark.parametrize("b_max", [80.0, math.inf])
def test_an_outcome_and_a_verdict_come_back_from_their_row(b_max: float) -> None:
    outcome = Outcome(True, True, 7, budget=9, b_max=b_max, level=2, problem_id="p", given_answer="5")
    row = completion_row(PROBLEM, "5", Graded(RIGHT, outcome))
    assert outcome_from_row(row) == outcome
    assert verdict_from_row(row) == RIGHT
    assert verdict_from_row(row).answer == "5"
    assert (row["problem"], row["answer"], row["text"]) == ("2 3 ?", "5", "5")
    assert row["b_max"] == (None if math.isinf(b_max) else b_max)  # JSON has no infinity


@pytest.mark.parametrize(
    ("name", "text", "budget"),
    [
        ("plain", "5", None),
        ("budget", "<budget>9</budget><solution>5</solution>", 9),
        ("prompt_budget", "5", 64),
        ("difficulty", "[Easy] 5", None),
    ],
)
def test_a_response_comes_back_from_its_row_to_be_graded_anew(name: str, text: str, budget: int | None) -> None:
    easy = True if name == "difficulty" else None
    outcome = Outcome(True, True, 7, budget, 80.0, 3, False, easy, 0.5, 2, "p", "5")
    again = grading_input_from_row(completion_row(PROBLEM, text, Graded(RIGHT, outcome)), format_class(name)())
    assert again.problem == PROBLEM
    assert again.response.body.strip() == "5"
    assert make_outcome(again, RIGHT) == outcome


def test_a_row_may_lack_what_an_outcome_has_defaults_for() -> None:
    row = {"problem_id": "p", "well_formed": True, "correct": False, "length": 3}
    assert outcome_from_row(row) == Outcome(True, False, 3, problem_id="p")


def test_rows_are_grouped_by_problem_and_by_data_set() -> None:
    rows = []
    for name, dataset, prefilled in (("b", "mini", None), ("a", "mini", None), ("b", "mini", 20), ("b", "gsm8k", None)):
        columns = {"well_formed": True, "correct": True, "length": len(rows)}
        rows.append({"problem_id": name, "dataset": dataset, "prefilled": prefilled, **columns})
    assert [[outcome.length for outcome in group] for group in outcomes_by_problem(rows)] == [[0, 2, 3], [1]]
    assert unprefilled_rows(rows) == {"mini": rows[:2], "gsm8k": rows[3:]}


def test_an_answer_that_was_not_checked_in_time_does_not_count_as_unreadable() -> None:
    rates = verification_rates([RIGHT, RIGHT, UNREADABLE, TIMED_OUT])
    assert rates == {"verify/unparsed": 0.25, "verify/timeouts": 0.25}
