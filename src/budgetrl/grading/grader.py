"""The grader: from the reading of a response to its outcome. What counts as right is decided here and nowhere else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from budgetrl.core.records import Outcome, Problem
from budgetrl.formats.base import Parsed
from budgetrl.grading.verifier import Verdict, Verifier

GRADER_VERSION = 1
"""Evaluations of different versions are not compared with each other.

Raise it with every change of what a response comes to: how a format is parsed, which answer is found in a text, how
answers are compared, what an outcome makes of it. Then write the cases of the new version to
`tests/fixtures/grader_v<version>.jsonl`, and their digest below.
"""
GRADER_DIGEST = "8bb1c7c9ee62eae7"
"""The digest of the results that `tests/fixtures/grader_v<version>.jsonl` expects; a test works it out anew."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A response as text, how it reads in its format, and its lengths in tokens."""

    text: str
    parsed: Parsed
    length: int
    """l: which tokens count, `model.length` says."""
    thinking_length: int | None
    body_ids: tuple[int, ...]

    @property
    def body(self) -> str:
        """The part of the text that holds the reasoning and the answer."""
        return self.parsed.body(self.text)


@dataclass(frozen=True, slots=True)
class Response:
    """What the grader is given: a reading, the problem with its gold answer, and what is known beside the text."""

    problem: Problem
    reading: Reading
    truncated: bool
    """Whether it ran into the token limit."""
    b_max: float = math.inf
    asked_budget: int | None = None
    """The budget that the prompt asked for; None where the prompt had none."""
    repetition: float = 0.0
    """The share of repeated n-grams in the body; 0 where it was not measured."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A response with what the verifier says of its answer, and what it came to."""

    verdict: Verdict
    outcome: Outcome


def grade(responses: Sequence[Response], verifier: Verifier) -> list[Graded]:
    """Grade responses, in their order."""
    answers = [(response.problem.answer, response.reading.body) for response in responses]
    verdicts = verifier.grade(answers)
    pairs = zip(responses, verdicts, strict=True)
    return [Graded(verdict, outcome_of(response, verdict)) for response, verdict in pairs]


def outcome_of(response: Response, verdict: Verdict) -> Outcome:
    """What a response came to, given the verdict on its answer."""
    problem, reading = response.problem, response.reading
    parsed, asked = reading.parsed, response.asked_budget
    outcome = Outcome(
        well_formed=parsed.well_formed,
        correct=verdict.correct,
        length=reading.length,
        budget=parsed.budget if asked is None else asked,
        b_max=response.b_max,
        thinking_length=reading.thinking_length,
        truncated=response.truncated,
        easy=parsed.easy,
        repetition=response.repetition,
        level=problem.level,
        problem_id=problem.id,
        given_answer=verdict.answer,
    )
    return without_credit_if_truncated(outcome)


def without_credit_if_truncated(outcome: Outcome) -> Outcome:
    """The outcome, malformed and wrong if the response ran into the token limit.

    A number that a text happens to be cut off at is no answer, whatever it is equal to.

    >>> without_credit_if_truncated(Outcome(well_formed=True, correct=True, length=9, truncated=True)).correct
    False
    """
    return replace(outcome, well_formed=False, correct=False) if outcome.truncated else outcome
