"""Convert graded responses to rows of completions.jsonl, and back."""

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
    """Return the row of a completion: the problem, the text of the whole response, and the grader's results."""
    return {
        "problem_id": problem.id,
        "problem": problem.problem,
        "answer": problem.answer,
        "text": text,
        **graded_columns(graded),
    }


def graded_columns(graded: Graded) -> dict[str, Any]:
    """Return the columns that the grader fills: the fields of the outcome, `parsed` and `timed_out`."""
    columns = asdict(graded.outcome)
    if math.isinf(graded.outcome.b_max):
        columns["b_max"] = None  # JSON has no infinity
    return {**columns, "parsed": graded.verdict.parsed, "timed_out": graded.verdict.timed_out}


def grading_input_from_row(row: Row, fmt: ResponseFormat) -> GradingInput:
    """Return the response in a row as input for the grader, to grade it again."""
    # The text is parsed again. Lengths in tokens are taken from the row, because it does not store the tokens.
    before = outcome_from_row(row)
    response = ParsedResponse(row["text"], fmt.parse(row["text"]), before.length, before.thinking_length, body_ids=())
    return GradingInput(
        problem=Problem(row["problem_id"], row["problem"], row["answer"], before.level),
        response=response,
        truncated=before.truncated,
        b_max=before.b_max,
        asked_budget=before.budget if fmt.budget_in == "prompt" else None,
        repetition=before.repetition,
        tokens_spent=before.tokens_spent,
        tokens_read=before.tokens_read,
    )


def outcome_from_row(row: Row) -> Outcome:
    """Return the outcome in a row. Missing columns get the defaults of `Outcome`."""
    values: dict[str, Any] = {}
    for field in fields(Outcome):
        if field.name in row:
            values[field.name] = row[field.name]
    values["b_max"] = b_max_from_row(row)
    return Outcome(**values)


def b_max_from_row(row: Row) -> float:
    """Return the reference length in a row; infinity if it is null or missing."""
    return math.inf if row.get("b_max") is None else row["b_max"]


def verdict_from_row(row: Row) -> Verdict:
    """Return the verdict in a row."""
    # `correct` is that of the outcome: a truncated response is wrong even if the verifier accepted its answer.
    return Verdict(row["correct"], row["parsed"], row["timed_out"], row["given_answer"])


def outcomes_by_problem(rows: Sequence[Row]) -> list[list[Outcome]]:
    """Return the outcomes of rows, grouped by problem in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(outcome_from_row(row))
    return list(groups.values())


def unprefilled_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows in which the model chose its own budget, by data set."""
    by_dataset: dict[str, list[Row]] = {}
    for row in rows:
        if row["prefilled"] is None:
            by_dataset.setdefault(row["dataset"], []).append(row)
    return by_dataset


def verification_rates(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return the shares of answers that could not be parsed and of answers that could not be checked in time."""
    # A verdict that timed out also has parsed=False, but belongs only to the timeouts.
    unparsed = [not verdict.parsed and not verdict.timed_out for verdict in verdicts]
    timed_out = [verdict.timed_out for verdict in verdicts]
    return {"verify/unparsed": fmean(unparsed), "verify/timeouts": fmean(timed_out)}
