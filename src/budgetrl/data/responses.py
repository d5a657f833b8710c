"""Input rows for `stage=score`: existing completions or outcomes, validated before they are scored."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.jsonl import read_objects
from budgetrl.core.messages import Message
from budgetrl.data.samples import HARNESSES, logged_completions
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.grader import without_credit_if_truncated
from budgetrl.grading.rows import outcome_from_row
from budgetrl.metrics.keys import is_reward
from budgetrl.runs.folder import Row

BUDGETRL = "budgetrl"
"""The input format with the keys of this module."""
INPUT_FORMATS = (BUDGETRL, *HARNESSES)
MAX_SHOWN_CHARACTERS = 60
"""Longer values are cut in error messages."""


@dataclass(frozen=True)
class InputRow:
    """One row of the input and its location."""

    where: str
    """File and line."""
    row: Row

    @property
    def needs_grading(self) -> bool:
        """Whether the row holds a completion rather than an outcome."""
        return "completion" in self.row

    def error(self, key: str, text: str, hint: str = "") -> RequestError:
        """Return the error to raise about a key of this row."""
        return RequestError(Message(f"{self.where}: {key}", text, hint))


def read_input_rows(path: Path, fmt: ResponseFormat, input_format: str, dataset: DatasetSettings) -> list[InputRow]:
    """Return the validated rows of a file, with defaults for missing optional keys. Empty lines are skipped.

    Raises:
        RequestError: naming file, line and key, if a key is missing, redundant or has an invalid value.
    """
    rows = list(read_objects(path)) if input_format == BUDGETRL else logged_completions(path, input_format, dataset)
    if not rows:
        raise RequestError(Message(str(path), "the file has no rows", "it must hold one row per response"))
    return [_validated(where, row, fmt) for where, row in rows]


def _validated(where: str, row: Row, fmt: ResponseFormat) -> InputRow:
    # Rewards of an earlier scoring are dropped, so that a scored file can be scored again.
    values = {key: _integral(key, value) for key, value in row.items() if not is_reward(key)}
    unchecked = InputRow(where, values)
    _check_keys(unchecked, fmt)
    _check_values(unchecked)
    _check_consistency(unchecked, fmt)
    complete = {**_defaults(unchecked), **values, "problem_id": str(row["problem_id"])}
    if not unchecked.needs_grading:
        # The row was graded elsewhere. Other graders may accept the last number of a truncated text; ours does not.
        outcome = without_credit_if_truncated(outcome_from_row(complete))
        complete |= {"well_formed": outcome.well_formed, "correct": outcome.correct}
    return InputRow(where, complete)


def _check_keys(row: InputRow, fmt: ResponseFormat) -> None:
    """Raise if a required key is missing, or if a row with a completion also states what is measured from it."""
    required = _required_keys(row, fmt)
    if row.needs_grading:
        for key in _MEASURED_KEYS:
            if key in row.row and key not in required:
                raise row.error(key, "is also measured from the completion", "remove one of the two")
    for key in required:
        if key not in row.row:
            raise row.error(key, "is missing", _REQUIRED_KEYS_HINT)


def _check_values(row: InputRow) -> None:
    """Raise if a key has a value of the wrong type or out of range."""
    for key, (is_valid, wanted) in _VALID_VALUES.items():
        if key == "answer" and not row.needs_grading:
            continue  # beside an outcome the answer is not used, only copied to the output
        if key in row.row and not is_valid(row.row[key]):
            raise row.error(key, f"must be {wanted}, not {abbreviated(row.row[key])}")


def _check_consistency(row: InputRow, fmt: ResponseFormat) -> None:
    """Raise if a response is marked well formed but is truncated or lacks the budget that its format requires."""
    values = row.row
    if not values.get("well_formed"):
        return
    if values.get("truncated"):
        raise row.error("truncated", "true in a well-formed response", "set well_formed or truncated to false")
    budget = values.get("budget")
    is_possible = fmt.budget_in is None if budget is None else budget >= 1
    if not is_possible:
        text = f"{abbreviated(budget)} in a well-formed response"
        raise row.error("budget", text, "it must be 1 or more, or well_formed must be false")


def _required_keys(row: InputRow, fmt: ResponseFormat) -> tuple[str, ...]:
    keys = _COMPLETION_KEYS if row.needs_grading else _OUTCOME_KEYS
    # A completion contains its own budget, unless the format states the budget in the prompt.
    needs_budget = fmt.budget_in == "prompt" or (fmt.budget_in == "response" and not row.needs_grading)
    return (*keys, "budget") if needs_budget else keys


def _defaults(row: InputRow) -> dict[str, Any]:
    """Defaults of the optional keys."""
    defaults: dict[str, Any] = {"b_max": None, "level": None, "truncated": False}
    if not row.needs_grading:  # for a completion, the grader measures these
        defaults |= {"budget": None, "thinking_length": None, "easy": None, "repetition": 0.0}
    return defaults


def abbreviated(value: object) -> str:
    """Return a value as JSON for an error message, cut to `MAX_SHOWN_CHARACTERS`."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _integral(key: str, value: Any) -> Any:
    """Convert 100.0 to 100 in integer columns: pandas turns a column into floats once a value is missing."""
    return int(value) if key in _INTEGER_KEYS and isinstance(value, float) and value.is_integer() else value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # True is an int in Python


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


_COMPLETION_KEYS = ("problem_id", "completion", "answer")
_OUTCOME_KEYS = ("problem_id", "well_formed", "correct", "length")
_MEASURED_KEYS = ("well_formed", "correct", "budget", "length", "thinking_length", "easy", "repetition", "given_answer")
_REQUIRED_KEYS_HINT = (
    "a row needs problem_id and either completion and answer, or well_formed, correct, length and, in formats with a "
    "budget, budget"
)
_BOOLEAN = (lambda v: isinstance(v, bool), "true or false")
_ID = (lambda v: _is_integer(v) or (isinstance(v, str) and v != ""), "a string or an integer")
_ANSWER = (lambda v: _is_number(v) or (isinstance(v, str) and v.strip() != ""), "a string or a number")
_COUNT_OR_NULL = (lambda v: v is None or _is_count(v), "a number of tokens or null")
_VALID_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "problem_id": _ID,
    "completion": (lambda v: isinstance(v, str), "a string"),
    "answer": _ANSWER,
    "well_formed": _BOOLEAN,
    "correct": _BOOLEAN,
    "truncated": _BOOLEAN,
    "length": (_is_count, "a number of tokens"),
    "budget": _COUNT_OR_NULL,
    "thinking_length": _COUNT_OR_NULL,
    "b_max": (lambda v: v is None or (_is_number(v) and v > 0), "a positive number, or null for infinity"),
    "easy": (lambda v: v is None or isinstance(v, bool), "true, false, or null for no tag"),
    "given_answer": (lambda v: v is None or isinstance(v, str), "a string or null"),
    "repetition": (lambda v: _is_number(v) and 0 <= v <= 1, "a share from 0 to 1"),
    "level": (lambda v: v is None or _is_integer(v), "an integer or null"),
}
"""For each key, whether a value is valid, and how an error message describes the valid values."""
_INTEGER_KEYS = ("problem_id", "length", "budget", "thinking_length", "level")
