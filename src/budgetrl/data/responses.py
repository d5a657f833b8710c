"""Responses that exist already: rows of completions or of outcomes, checked before they are scored."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.jsonl import read_objects
from budgetrl.data.samples import HARNESSES, logged_completions
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.grader import without_credit_if_truncated
from budgetrl.grading.rows import outcome_from_row
from budgetrl.metrics.keys import is_reward
from budgetrl.runs.folder import Row

BUDGETRL = "budgetrl"
INPUT_FORMATS = (BUDGETRL, *HARNESSES)
"""Whose rows can be read."""
MAX_SHOWN_CHARACTERS = 60
"""Characters of a wrong value in an error."""


@dataclass(frozen=True)
class InputRow:
    """One row of the input, and where it stands."""

    where: str
    """File and line."""
    row: Row

    @property
    def needs_grading(self) -> bool:
        """Whether the row holds a completion rather than an outcome."""
        return "completion" in self.row

    def error(self, key: str, complaint: str) -> RequestError:
        """What to raise about a key of this row."""
        return RequestError(f"{self.where}: {key}: {complaint}")


def read_input_rows(path: Path, fmt: ResponseFormat, form: str, dataset: DatasetSettings) -> list[InputRow]:
    """The checked rows of a file in the input format `form`, empty lines left out and optional keys filled in.

    Raises:
        RequestError: naming file, line and key, for a row that holds too little, too much or something else.
    """
    rows = list(read_objects(path)) if form == BUDGETRL else logged_completions(path, form, dataset)
    if not rows:
        raise RequestError(f"{path}: there is no row in it; give a row for each response")
    return [_line(where, row, fmt) for where, row in rows]


def _line(where: str, row: Row, fmt: ResponseFormat) -> InputRow:
    """A checked row, without rewards of an earlier scoring and with optional keys filled in."""
    values = {key: _as_whole(key, value) for key, value in row.items() if not is_reward(key)}
    line = InputRow(where, values)
    _check_keys(line, fmt)
    _check_values(line)
    _check_budget_and_end(line, fmt)
    known = {**_defaults(line), **values, "problem_id": str(row["problem_id"])}
    if not line.needs_grading:
        # Other graders may find an answer in a text that was cut off; ours does not.
        outcome = without_credit_if_truncated(outcome_from_row(known))
        known |= {"well_formed": outcome.well_formed, "correct": outcome.correct}
    return InputRow(where, known)


def _check_keys(line: InputRow, fmt: ResponseFormat) -> None:
    """Raise where a required key is missing, or where a key says what the completion beside it says too."""
    required = _required(line, fmt)
    if line.needs_grading:
        for key in _MEASURED:
            if key in line.row and key not in required:
                raise line.error(key, "also follows from the completion; remove one of the two")
    for key in required:
        if key not in line.row:
            raise line.error(key, f"is missing; {_WHAT_A_ROW_HOLDS}")


def _check_values(line: InputRow) -> None:
    """Raise where a key holds a value that it cannot have."""
    for key, (fits, wanted) in _KINDS.items():
        if key == "answer" and not line.needs_grading:
            continue  # the answer beside an outcome is not read, only handed through
        if key in line.row and not fits(line.row[key]):
            raise line.error(key, f"must be {wanted}, not {abbreviated(line.row[key])}")


def _check_budget_and_end(line: InputRow, fmt: ResponseFormat) -> None:
    """Raise where a response is called well formed that cannot be: cut off, or without the format's budget."""
    row = line.row
    if not row.get("well_formed"):
        return
    if row.get("truncated"):
        raise line.error("truncated", "true in a well-formed response; set well_formed or truncated to false")
    budget = row.get("budget")
    possible = fmt.budget_in is None if budget is None else budget >= 1
    if not possible:
        raise line.error(
            "budget", f"{abbreviated(budget)} in a well-formed response; give 1 or more, or set well_formed to false"
        )


def _required(line: InputRow, fmt: ResponseFormat) -> tuple[str, ...]:
    """The keys that a row must have. A budget is read off a completion, unless the prompt held it."""
    keys = _COMPLETION_KEYS if line.needs_grading else _OUTCOME_KEYS
    has_budget = fmt.budget_in == "prompt" or (fmt.budget_in == "response" and not line.needs_grading)
    return (*keys, "budget") if has_budget else keys


def _defaults(line: InputRow) -> dict[str, Any]:
    """What keys hold that a row may lack. Of a completion the grader finds out the others."""
    defaults: dict[str, Any] = {"b_max": None, "level": None, "truncated": False}
    if not line.needs_grading:
        defaults |= {"budget": None, "thinking_length": None, "easy": None, "repetition": 0.0}
    return defaults


def abbreviated(value: object) -> str:
    """A value for an error, as JSON and not too long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _as_whole(key: str, value: Any) -> Any:
    """100.0 as 100 where a whole number is wanted: pandas writes floats once a column has a gap."""
    return int(value) if key in _WHOLE and isinstance(value, float) and value.is_integer() else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


_COMPLETION_KEYS = ("problem_id", "completion", "answer")
_OUTCOME_KEYS = ("problem_id", "well_formed", "correct", "length")
_MEASURED = ("well_formed", "correct", "budget", "length", "thinking_length", "easy", "repetition", "given_answer")
_WHAT_A_ROW_HOLDS = (
    "a row holds problem_id and either completion and answer, or well_formed, correct, length and, where the format "
    "has one, budget"
)
_FLAG = (lambda v: isinstance(v, bool), "true or false")
_NAME = (lambda v: _is_whole(v) or (isinstance(v, str) and v != ""), "a text or a whole number")
_ANSWER = (lambda v: _is_number(v) or (isinstance(v, str) and v.strip() != ""), "a text or a number")
_COUNT_OR_NONE = (lambda v: v is None or _is_count(v), "a number of tokens, or null for none")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "problem_id": _NAME,
    "completion": (lambda v: isinstance(v, str), "a text"),
    "answer": _ANSWER,
    "well_formed": _FLAG,
    "correct": _FLAG,
    "truncated": _FLAG,
    "length": (_is_count, "a number of tokens"),
    "budget": _COUNT_OR_NONE,
    "thinking_length": _COUNT_OR_NONE,
    "b_max": (lambda v: v is None or (_is_number(v) and v > 0), "a positive number, or null for infinite"),
    "easy": (lambda v: v is None or isinstance(v, bool), "true, false, or null for no tag"),
    "given_answer": (lambda v: v is None or isinstance(v, str), "a text, or null for none"),
    "repetition": (lambda v: _is_number(v) and 0 <= v <= 1, "a share from 0 to 1"),
    "level": (lambda v: v is None or _is_whole(v), "a whole number, or null for none"),
}
"""What each key may hold, where a row has it."""
_WHOLE = ("problem_id", "length", "budget", "thinking_length", "level")
