"""The grader turns a parsed response into its outcome. It alone decides what counts as correct."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from budgetrl.core.records import Outcome, Problem
from budgetrl.formats.base import Parsed
from budgetrl.grading.verifier import Verdict, Verifier

GRADER_VERSION = 1
"""Evaluations graded by different versions are never compared with each other.

Increase it with every change that can alter an outcome: how a format is parsed, which answer is extracted from a text,
how answers are compared, how `make_outcome` combines the results. Then write the cases of the new version to
`tests/fixtures/grader_v<version>.jsonl` and update the digest below.
"""
GRADER_DIGEST = "8bb1c7c9ee62eae7"
"""Digest of the expected results in `tests/fixtures/grader_v<version>.jsonl`. A test recomputes it."""


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """The text of a response, parsed in its format, with its lengths in tokens."""

    text: str
    parsed: Parsed
    length: int
    """The length l in tokens; `model.length` decides which tokens count."""
    thinking_length: int | None
    """Tokens up to the end of a `<think>` block; None without one."""
    body_ids: tuple[int, ...]
    """Token ids of the body; empty when only the text is known (a row of completions.jsonl)."""

    @property
    def body(self) -> str:
        """The part of the text that holds the reasoning and the answer."""
        return self.parsed.body(self.text)


@dataclass(frozen=True, slots=True)
class GradingInput:
    """Everything the grader needs to know about one response."""

    problem: Problem
    response: ParsedResponse
    truncated: bool
    """Whether generation stopped at the token limit."""
    b_max: float = math.inf
    """Reference length of the problem in tokens."""
    asked_budget: int | None = None
    """The budget requested in the prompt; None if the prompt requested none."""
    repetition: float = 0.0
    """Share of repeated n-grams in the body; 0 if not measured."""
    tokens_spent: int | None = None
    """All tokens that the response cost; None if not known."""
    tokens_read: int = 0
    """Tokens that were computed again."""


@dataclass(frozen=True, slots=True)
class Graded:
    """The verifier's verdict on a response, and the outcome that follows from it."""

    verdict: Verdict
    outcome: Outcome


def grade(inputs: Sequence[GradingInput], verifier: Verifier) -> list[Graded]:
    """Grade responses, keeping their order."""
    # One call for all of them, so that the verifier can spread the work over its processes.
    pairs = [(item.problem.answer, item.response.body) for item in inputs]
    graded: list[Graded] = []
    for item, verdict in zip(inputs, verifier.grade(pairs), strict=True):
        graded.append(Graded(verdict, make_outcome(item, verdict)))
    return graded


def make_outcome(item: GradingInput, verdict: Verdict) -> Outcome:
    """Return the outcome of a response, given the verdict on its answer."""
    problem, response = item.problem, item.response
    parsed = response.parsed
    outcome = Outcome(
        well_formed=parsed.well_formed,
        correct=verdict.correct,
        length=response.length,
        # A budget requested in the prompt takes precedence over one found in the response.
        budget=parsed.budget if item.asked_budget is None else item.asked_budget,
        b_max=item.b_max,
        thinking_length=response.thinking_length,
        truncated=item.truncated,
        easy=parsed.easy,
        repetition=item.repetition,
        level=problem.level,
        problem_id=problem.id,
        given_answer=verdict.answer,
        tokens_spent=item.tokens_spent,
        tokens_read=item.tokens_read,
    )
    return without_credit_if_truncated(outcome)


def without_credit_if_truncated(outcome: Outcome) -> Outcome:
    """Return the outcome, marked malformed and wrong if the response was truncated at the token limit.

    A truncated text may end in a number that happens to equal the gold answer; that does not count as an answer.

    >>> without_credit_if_truncated(Outcome(well_formed=True, correct=True, length=9, truncated=True)).correct
    False
    """
    return replace(outcome, well_formed=False, correct=False) if outcome.truncated else outcome
