"""Rows of responses: what they may hold, and that a bad one is named with file, line and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from budgetrl.core.errors import RequestError
from budgetrl.data.responses import BUDGETRL, InputRow, read_input_rows
from budgetrl.data.sources.mini import MiniSettings
from budgetrl.formats.budget import BudgetFormat

Row = dict[str, Any]


def outcome(**changes: object) -> Row:
    return {"problem_id": "p", "well_formed": True, "correct": True, "budget": 100, "length": 90, **changes}


def completion(**changes: object) -> Row:
    return {"problem_id": "p", "completion": r"3 = \boxed{ 3 }", "answer": "3", **changes}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(*lines: Row | bytes) -> list[InputRow]:
    """Lines of rows.jsonl, in the budget format."""
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    Path("rows.jsonl").write_bytes(b"\n".join(texts))
    return read_input_rows(Path("rows.jsonl"), BudgetFormat(), BUDGETRL, MiniSettings())


WHICH = (
    "a row needs problem_id and either completion and answer, or well_formed, correct, length and, in formats with a "
    "budget, budget"
)
NO_LENGTH = {key: value for key, value in outcome().items() if key != "length"}
NO_ANSWER = {key: value for key, value in completion().items() if key != "answer"}
BAD_ROWS = [
    ({}, f"problem_id: is missing; {WHICH}"),
    (NO_LENGTH, f"length: is missing; {WHICH}"),
    (NO_ANSWER, f"answer: is missing; {WHICH}"),
    (completion(budget=9), "budget: is also measured from the completion; remove one of the two"),
    (outcome(correct=1), "correct: must be true or false, not 1"),
    (outcome(well_formed="yes"), 'well_formed: must be true or false, not "yes"'),
    (outcome(truncated=None), "truncated: must be true or false, not null"),
    (outcome(length=-1), "length: must be a number of tokens, not -1"),
    (outcome(length=90.5), "length: must be a number of tokens, not 90.5"),
    (outcome(length=True), "length: must be a number of tokens, not true"),
    (outcome(budget="9"), 'budget: must be a number of tokens or null, not "9"'),
    (outcome(truncated=True), "truncated: true in a well-formed response; set well_formed or truncated to false"),
    (outcome(budget=0), "budget: 0 in a well-formed response; it must be 1 or more, or well_formed must be false"),
    (
        outcome(budget=None),
        "budget: null in a well-formed response; it must be 1 or more, or well_formed must be false",
    ),
    (outcome(b_max=0), "b_max: must be a positive number, or null for infinity, not 0"),
    (outcome(b_max=float("nan")), "b_max: must be a positive number, or null for infinity, not NaN"),
    (outcome(level=2.5), "level: must be an integer or null, not 2.5"),
    (outcome(level="hard"), 'level: must be an integer or null, not "hard"'),
    (outcome(thinking_length=-2), "thinking_length: must be a number of tokens or null, not -2"),
    (outcome(problem_id=""), 'problem_id: must be a string or an integer, not ""'),
    (completion(completion=None), "completion: must be a string, not null"),
    (completion(completion=["x" * 90]), f'completion: must be a string, not ["{"x" * 58}...'),
    (completion(answer=" "), 'answer: must be a string or a number, not " "'),
    (completion(answer=["3"]), 'answer: must be a string or a number, not ["3"]'),
]


@pytest.mark.parametrize(("row", "said"), BAD_ROWS, ids=[said.partition(";")[0] for _, said in BAD_ROWS])
def test_a_bad_row_is_named_with_file_line_and_key(row: Row, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(outcome(b_max=float("inf")), completion(), row, outcome())
    assert str(caught.value) == f"rows.jsonl, line 3: {said}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "rows.jsonl: the file has no rows; it must hold one row per response"),
        (b"\n[1]", "rows.jsonl, line 2: not a JSON object but list; each line must be one JSON object"),
        (b'{"problem_id": ', "rows.jsonl, line 1: not JSON (Expecting value"),
        (b'{"problem_id": "\xff"}', "rows.jsonl, line 1: not UTF-8 (invalid start byte at byte 17)"),
    ],
)
def test_what_is_no_row_is_named_too(line: bytes, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(line)
    assert str(caught.value).startswith(said)


def test_optional_keys_are_filled_in_and_earlier_rewards_left_out() -> None:
    (line,) = read(outcome(problem_id=7, note="mine", reward=1.0, **{"reward/old": 1.0}))
    told = {"level": None, "truncated": False, "b_max": None, "thinking_length": None, "easy": None, "repetition": 0.0}
    assert line.row == outcome(problem_id="7", note="mine", **told)
    assert not line.needs_grading


def test_what_was_cut_off_is_not_right_whatever_the_row_says() -> None:
    cut, whole = read(outcome(well_formed=False, truncated=True), outcome(well_formed=False))
    assert (cut.row["correct"], whole.row["correct"]) == (False, True)


def test_what_the_grader_will_find_out_is_not_filled_in() -> None:
    (line,) = read(completion())
    assert line.row == completion(b_max=None, level=None, truncated=False)
    assert line.needs_grading
