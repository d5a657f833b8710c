"""Reading problems from JSONL: every bad row is an error with file and line, or skipped and reported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.data.reading import Fields
from budgetrl.data.sources.base import DataError
from budgetrl.data.sources.jsonl import JsonlSettings

Write = Callable[..., JsonlSettings]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows (or raw lines) to train.jsonl; returns the spec that reads them."""

    def write(*rows: object, **options: object) -> JsonlSettings:
        file = tmp_path / "train.jsonl"
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        file.write_bytes(b"\n".join(lines) + b"\n")
        return JsonlSettings(name="mine", path=str(file), **options)  # pyright: ignore[reportArgumentType]

    return write


def row(number: int = 1, **fields: object) -> dict[str, object]:
    return {"id": f"p{number}", "problem": f"1+{number}?", "answer": str(1 + number)} | fields


def test_reads_all_fields(write: Write) -> None:
    spec = write(row(level=3, solution="1+1=2"), row(2, extra=[1]))
    assert spec.load("train").problems == [
        Problem("p1", "1+1?", "2", 3, "mine", "1+1=2"),
        Problem("p2", "1+2?", "3", None, "mine", None),
    ]


def test_fields_may_have_other_names(write: Write) -> None:
    fields = Fields(id="key", problem="question", answer="gold", level="hardness", solution="worked")
    spec = write({"key": 7, "question": " 1+1? ", "gold": 2, "hardness": "Level 4", "worked": "x"}, fields=fields)
    assert spec.load("train").problems == [Problem("7", "1+1?", "2", 4, "mine", "x")]


def test_rows_without_id_are_named_by_file_and_line(write: Write) -> None:
    spec = write(b"", {"problem": "a", "answer": "1"}, b"  ", {"problem": "b", "answer": "2"})
    assert [p.id for p in spec.load("train").problems] == ["train-2", "train-4"]


@pytest.mark.parametrize(
    ("level", "read"),
    [(3, 3), (4.0, 4), (4.5, 5), (4.375, 4), ("Level 5", 5), ("2", 2), ("Level ?", None), (None, None)],
)
def test_levels(write: Write, level: object, read: int | None) -> None:
    assert write(row(level=level)).load("train").problems[0].level == read


@pytest.mark.parametrize(
    ("answer_from", "value", "answer"),
    [
        ("field", r" \frac{1}{2} ", r"\frac{1}{2}"),
        ("field", 0.5, "0.5"),
        ("gsm8k", "48/2 = <<48/2=24>>24\n#### 1,224", "1224"),
        ("boxed", r"\boxed{1} so \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ],
)
def test_answers_are_cut_out(write: Write, answer_from: str, value: object, answer: str) -> None:
    spec = write(row(answer=value), answer_from=answer_from)
    assert spec.load("train").problems[0].answer == answer


def test_gsm8k_solutions_lose_marks_and_last_line(write: Write) -> None:
    text = "48/2 = <<48/2=24>>24 clips.\n48+24 = <<48+24=72>>72.\n#### 72"
    spec = write(row(answer=text), answer_from="gsm8k", fields=Fields(solution="answer"))
    assert spec.load("train").problems[0].solution == "48/2 = 24 clips.\n48+24 = 72."


BAD = {
    "no field 'problem' (the fields are: answer, id, question); set dataset.fields.problem=": {
        "id": "x",
        "question": "a",
        "answer": "1",
    },
    "no field 'answer'": {"id": "x", "problem": "a"},
    "field 'problem' must be a string, not int": row(problem=3),
    "field 'problem' is empty": row(problem=" "),
    "field 'answer' is empty": row(answer=""),
    "field 'answer' must be a string, not list": row(answer=[3]),
    "field 'answer' must be a string, not bool": row(answer=True),
    "field 'answer' must be a string, not float": row(answer=float("nan")),
    "not JSON (": b'{"id": "p1"',
    "not a JSON object but list": [1],
    "not UTF-8 (": b'{"problem": "\xff"}',
    "id 'first' was already used in": row(id="first"),
    "field 'id' must be": row(id=[1]),
    "level True is not a number": row(level=True),
    "level [3] is not a number": row(level=[3]),
    "field 'solution' is not a string": row(solution=3),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_row_is_an_error_or_is_skipped_and_counted(write: Write, why: str) -> None:
    spec = write(row(id="first"), BAD[why], row(9, id="last"))
    with pytest.raises(DataError) as error:
        spec.load("train")
    message = str(error.value)
    assert message.startswith(f"{spec.path}, line 2: {why}")
    assert "dataset.on_bad_row=skip" in message
    assert isinstance(error.value, RequestError)

    loaded = replace(spec, on_bad_row="skip").load("train")
    assert [problem.id for problem in loaded.problems] == ["first", "last"]
    assert len(loaded.skipped) == 1
    assert loaded.skipped[0].startswith(f"{spec.path}, line 2: {why}")


@pytest.mark.parametrize(
    ("answer_from", "why"), [("gsm8k", "must end in `#### <answer>`"), ("boxed", r"has no \boxed{}")]
)
def test_an_answer_that_cannot_be_cut_out_is_a_bad_row(write: Write, answer_from: str, why: str) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl, line 1: ") as error:
        write(row(), answer_from=answer_from).load("train")
    assert why in str(error.value)


def test_a_misspelled_optional_field_is_an_error(write: Write) -> None:
    spec = write(row(level=3), row(2), fields=Fields(level="levle"))
    with pytest.raises(
        DataError, match=r"dataset\.fields\.level: no row of .* has a field 'levle'; .* answer, id, level"
    ):
        spec.load("train")


def test_missing_and_empty_files_are_errors(write: Write) -> None:
    with pytest.raises(DataError, match=r"dataset\.path: there is no file nowhere\.jsonl"):
        JsonlSettings(path="nowhere.jsonl").load("train")
    with pytest.raises(DataError, match="there are no problems in it"):
        write(b"").load("train")
    with pytest.raises(DataError, match=r"there are no problems in it; first bad row: .*\.jsonl, line 1: no field"):
        write({"a": 1}, on_bad_row="skip").load("train")


def test_benchmark_files_load_whole(shared_dir: Path) -> None:
    counts = {"gsm8k_train": 7473, "math500_test": 350, "aime_1983_2023": 611}
    for name, count in counts.items():
        spec = JsonlSettings(path=str(shared_dir / "data" / f"{name}.jsonl"))
        assert len(spec.load("train").problems) == count
