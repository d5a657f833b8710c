"""What a response comes to: pinned case by case for each version of the grader, and wrong where it was cut off."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from budgetrl.core.records import Problem
from budgetrl.formats.registry import format_class, format_names
from budgetrl.grading.grader import (
    GRADER_DIGEST,
    GRADER_VERSION,
    Graded,
    GradingInput,
    ParsedResponse,
    grade,
    make_outcome,
    without_credit_if_truncated,
)
from budgetrl.grading.rows import graded_columns
from budgetrl.grading.verifier import Verdict, Verifier

CASES = Path(__file__).parent / "fixtures" / f"grader_v{GRADER_VERSION}.jsonl"
"""Gold answers and responses, with what the grader of this version makes of them."""
HOW_TO_CHANGE_IT = "the grader changed: raise GRADER_VERSION, and give it cases and a digest of its own"
RIGHT = Verdict(correct=True, parsed=True, timed_out=False, answer="5")


def response(case: dict[str, Any]) -> GradingInput:
    parsed = format_class(case["format"])().parse(case["text"])
    response = ParsedResponse(case["text"], parsed, length=9, thinking_length=None, body_ids=())
    problem = Problem("p", "?", case["gold"])
    return GradingInput(problem, response, case.get("truncated", False), asked_budget=case.get("asked_budget"))


def results(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases with what the grader makes of them today."""
    with Verifier(deadline=60) as verifier:  # generous: the machine may be busy
        graded = grade([response(case) for case in cases], verifier)
    found = []
    for case, one in zip(cases, graded, strict=True):
        columns = graded_columns(one)
        found.append({**case, "expected": {key: columns[key] for key in case["expected"]}})
    return found


def digest(cases: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()[:16]


def test_the_grader_does_what_its_version_says() -> None:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    assert {case["format"] for case in cases} <= set(format_names())  # a new format needs no cases here
    today = results(cases)
    changed = [now for before, now in zip(cases, today, strict=True) if now != before]
    assert changed == [], HOW_TO_CHANGE_IT
    assert digest(today) == GRADER_DIGEST, HOW_TO_CHANGE_IT


def plain(text: str = "5", **known: Any) -> GradingInput:
    response = ParsedResponse(text, format_class("plain")().parse(text), length=9, thinking_length=4, body_ids=(1, 2))
    return GradingInput(Problem("p", "2 3 ?", "5", level=2), response, **{"truncated": False, **known})


def test_an_outcome_holds_what_is_known_beside_the_text() -> None:
    outcome = make_outcome(plain(b_max=80, asked_budget=50, repetition=0.25), RIGHT)
    assert (outcome.well_formed, outcome.correct, outcome.given_answer) == (True, True, "5")
    assert (outcome.length, outcome.thinking_length, outcome.repetition) == (9, 4, 0.25)
    assert (outcome.budget, outcome.b_max) == (50, 80)
    assert (outcome.problem_id, outcome.level) == ("p", 2)


@pytest.mark.parametrize("truncated", [False, True])
def test_what_was_cut_off_is_malformed_and_wrong_and_keeps_the_answer_that_was_read(truncated: bool) -> None:
    outcome = make_outcome(plain(truncated=truncated), RIGHT)
    assert (outcome.well_formed, outcome.correct, outcome.truncated) == (not truncated, not truncated, truncated)
    assert outcome.given_answer == "5"
    columns = graded_columns(Graded(RIGHT, outcome))
    assert columns["correct"] is not truncated
    assert (columns["parsed"], columns["timed_out"]) == (True, False)


def test_outcomes_of_other_graders_lose_the_same_when_cut_off() -> None:
    whole = make_outcome(plain(), RIGHT)
    assert without_credit_if_truncated(whole) == whole
    cut = without_credit_if_truncated(replace(whole, truncated=True))
    assert cut == make_outcome(plain(truncated=True), RIGHT)


def test_responses_are_graded_in_their_order() -> None:
    with Verifier(deadline=60) as verifier:
        graded = grade([plain(r"\boxed{5}"), plain(r"\boxed{6}"), plain(r"\boxed{\frac{10}{2}}")], verifier)
    assert [one.outcome.correct for one in graded] == [True, False, True]
