"""What becomes of a completion once it is read and graded."""

from types import SimpleNamespace
from typing import Any

import pytest

from budgetrl.core.records import Completion, Problem
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verdict
from budgetrl.rollout.collect import Collector


@pytest.mark.parametrize("finished", [True, False])
def test_a_right_number_at_the_end_of_a_cut_off_text_is_no_answer(finished: bool) -> None:
    nothing: Any = None
    collector = Collector(nothing, nothing, nothing, PlainFormat(), nothing)
    parsed = SimpleNamespace(well_formed=True, budget=None, easy=None)
    reading: Any = SimpleNamespace(parsed=parsed, length=3, thinking_length=None, body_ids=(1, 2, 3))
    completion = Completion((1, 2, 3), (-0.1, -0.1, -0.1), finished)
    verdict = Verdict(correct=True, parsed=True, timed_out=False, answer="42")
    outcome = collector._outcome(Problem("p", "6 times 7?", "42"), None, completion, reading, verdict)
    assert (outcome.correct, outcome.well_formed, outcome.truncated) == (finished, finished, not finished)
