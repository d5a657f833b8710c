"""Rows of completions.jsonl: what they say of a completion, and what is read off them again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import fmean
from typing import Any

from budgetrl.core.records import Outcome
from budgetrl.grading.verifier import Verdict

Row = dict[str, Any]


def verdict_columns(verdict: Verdict, truncated: bool) -> Row:
    """What the grader decides of a row. A completion that was cut off is never right, whatever its text holds."""
    return {
        "correct": verdict.correct and not truncated,
        "given_answer": verdict.answer,
        "parsed": verdict.parsed,
        "timed_out": verdict.timed_out,
    }


def verification_rates(rows: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Shares of answers that could not be read, and that could not be checked in time."""
    return {
        "verify/unparsed": fmean(not (row["parsed"] or row["timed_out"]) for row in rows),
        "verify/timeouts": fmean(bool(row["timed_out"]) for row in rows),
    }


_OUTCOME_FIELDS = [f.name for f in fields(Outcome)]


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The inverse of `completion_row`, as far as rewards and metrics go."""
    values = {name: row[name] for name in _OUTCOME_FIELDS if name in row}
    if values.get("b_max") is None:
        values["b_max"] = math.inf
    return Outcome(**values)


def outcomes_by_problem(rows: Sequence[Mapping[str, Any]]) -> list[list[Outcome]]:
    """Outcomes of rows, grouped by problem in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(outcome_of(row))
    return list(groups.values())


def free_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Those with budgets of the model's own, by data set."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["prefilled"] is None:
            found.setdefault(row["dataset"], []).append(row)
    return found
