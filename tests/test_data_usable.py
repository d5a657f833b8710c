"""Gold answers that cannot be read, leakage, and files that change under a run."""

from collections.abc import Iterator

import pytest

from budgetrl.core.records import Problem
from budgetrl.data.sources.base import Loaded
from budgetrl.data.usable import drop_unparsable, overlap
from budgetrl.grading.verifier import Verifier


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(deadline=60) as verifier:
        yield verifier


def test_problems_with_unreadable_answers_are_left_out_and_reported(verifier: Verifier) -> None:
    answers = ["7", r"\frac{1}{2}", "n/a ???", "(1, 2)"]
    loaded = Loaded([Problem(f"p{i}", "?", answer) for i, answer in enumerate(answers)], ["file, line 9: empty"])
    kept = drop_unparsable(loaded, verifier)
    assert [problem.id for problem in kept.problems] == ["p0", "p1", "p3"]
    assert kept.skipped == ["file, line 9: empty", "problem p2: math-verify cannot parse its answer 'n/a ???'"]


def test_overlap_sees_through_case_blanks_and_punctuation() -> None:
    train = [Problem("a", "What is $2 + 3$?", "5"), Problem("b", "Löse x^2 = 4.", "2")]
    held = ["what is 2+3", "What is $2 - 3$?", "LÖSE  x^2=4", "Find x."]
    assert overlap(train, [Problem(str(i), text, "1") for i, text in enumerate(held)]) == 2
    assert overlap([], train) == overlap(train, []) == 0
