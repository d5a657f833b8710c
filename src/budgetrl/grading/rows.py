"""What a row of completions.jsonl holds: written from a graded response, and read back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from statistics import fmean
from typing import Any

from budgetrl.core.records import Outcome, Problem
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.grader import Graded, GradingInput, ParsedResponse
from budgetrl.grading.verifier import Verdict
from budgetrl.runs.folder import Row


def completion_row(problem: Problem, text: str, graded: Graded) -> dict[str, Any]:
    """The row of a completion: the problem, the text of the whole response, and what it came to."""
    asked = {"problem_id": problem.id, "problem": problem.problem, "answer": problem.answer}
    return {**asked, "text": text, **graded_columns(graded)}


def graded_columns(graded: Graded) -> dict[str, Any]:
    """What the grader found out about a response: the fields of its outcome, and whether its answer could be checked.

    JSON has no infinity, so that an infinite `b_max` is null.
    """
    columns = asdict(graded.outcome)
    if math.isinf(graded.outcome.b_max):
        columns["b_max"] = None
    return {**columns, "parsed": graded.verdict.parsed, "timed_out": graded.verdict.timed_out}


def grading_input_from_row(row: Row, fmt: ResponseFormat) -> GradingInput:
    """The response that a row is about, to be graded anew: its text is parsed again, and what was measured in tokens
    stays as it was, since a row does not hold the tokens."""
    before = outcome_from_row(row)
    response = ParsedResponse(row["text"], fmt.parse(row["text"]), before.length, before.thinking_length, body_ids=())
    return GradingInput(
        problem=Problem(row["problem_id"], row["problem"], row["answer"], before.level),
        response=response,
        truncated=before.truncated,
        b_max=before.b_max,
        asked_budget=before.budget if fmt.budget_in == "prompt" else None,
        repetition=before.repetition,
    )


_OUTCOME_FIELDS = [field.name for field in fields(Outcome)]


def outcome_from_row(row: Row) -> Outcome:
    """The outcome in a row of completions; columns that a row lacks have the outcome's own defaults."""
    values = {name: row[name] for name in _OUTCOME_FIELDS if name in row}
    return Outcome(**{**values, "b_max": b_max_from_row(row)})


def b_max_from_row(row: Row) -> float:
    """The reference length in a row; where it is null or absent, infinite."""
    return math.inf if row.get("b_max") is None else row["b_max"]


def verdict_from_row(row: Row) -> Verdict:
    """The verdict in a row of completions. Of a response that was cut off it says "not correct", as the row does."""
    return Verdict(row["correct"], row["parsed"], row["timed_out"], row["given_answer"])


def outcomes_by_problem(rows: Sequence[Row]) -> list[list[Outcome]]:
    """Outcomes of rows, grouped by problem in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(outcome_from_row(row))
    return list(groups.values())


def unprefilled_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows with budgets of the model's own, by data set."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["prefilled"] is None:
            found.setdefault(row["dataset"], []).append(row)
    return found


def verification_rates(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Shares of answers that could not be read, and that could not be checked in time."""
    unread = [not verdict.parsed and not verdict.timed_out for verdict in verdicts]
    return {
        "verify/unparsed": fmean(unread),
        "verify/timeouts": fmean(verdict.timed_out for verdict in verdicts),
    }
