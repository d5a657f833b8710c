"""Rows of completions: what is written of a sample is read back, and a cut-off answer is never right."""

import math

import pytest

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.formats import PlainFormat
from budgetrl.grading.rows import completion_row, outcome_of, verdict_columns, verification_rates
from budgetrl.grading.verifier import TIMED_OUT, UNREADABLE, Verdict
from budgetrl.policy.codec import Prompt, Reading
from budgetrl.rollout.collect import Sample

RIGHT = Verdict(correct=True, parsed=True, timed_out=False, answer="5")


@pytest.mark.parametrize("b_max", [80.0, math.inf])
def test_an_outcome_comes_back_from_its_row(b_max: float) -> None:
    outcome = Outcome(True, True, 7, budget=9, b_max=b_max, level=2, problem_id="p", given_answer="5")
    reading = Reading("5", PlainFormat().parse("5"), 7, None, ())
    sample = Sample(
        Problem("p", "2 3 ?", "5", 2), Prompt((1,)), Completion((1,), (0.0,), True), reading, RIGHT, outcome
    )
    row = completion_row(sample)
    assert outcome_of(row) == outcome
    assert (row["answer"], row["text"], row["parsed"], row["timed_out"]) == ("5", "5", True, False)
    assert row["b_max"] == (None if math.isinf(b_max) else b_max)  # JSON has no infinity


@pytest.mark.parametrize(("truncated", "correct"), [(False, True), (True, False)])
def test_what_was_cut_off_is_wrong_and_keeps_the_answer_that_was_read(truncated: bool, correct: bool) -> None:
    verdict = {"correct": correct, "given_answer": "5", "parsed": True, "timed_out": False}
    assert verdict_columns(RIGHT, truncated) == verdict


def test_an_answer_that_was_not_checked_in_time_does_not_count_as_unreadable() -> None:
    rows = [verdict_columns(verdict, False) for verdict in (RIGHT, RIGHT, UNREADABLE, TIMED_OUT)]
    assert verification_rates(rows) == {"verify/unparsed": 0.25, "verify/timeouts": 0.25}
