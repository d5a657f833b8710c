"""Splits, limits, held-out problems, gold checks and leakage."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from budgetrl.core.records import Problem
from budgetrl.data.problems import count_problems, drop_unreadable, load_problems, overlap
from budgetrl.data.spec import DataError, DatasetSettings, Loaded, Split
from budgetrl.grading import Verifier


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSettings:
    rows = [{"id": f"p{i}", "problem": f"1+{i}?", "answer": f"{i + 1}"} for i in range(50)]
    write(tmp_path / "train.jsonl", rows)
    return DatasetSettings(source="jsonl", path=str(tmp_path / "train.jsonl"))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ids(loaded: Loaded) -> list[str]:
    return [problem.id for problem in loaded.problems]


def test_held_out_problems_are_not_trained_on(spec: DatasetSettings) -> None:
    spec = replace(spec, held_out=20)
    train, held = ids(load_problems(spec, "train")), ids(load_problems(spec, "eval"))
    assert len(held) == 20
    assert sorted(train + held) == sorted(f"p{i}" for i in range(50))
    assert held != [f"p{i}" for i in range(20)]


def test_held_out_problems_do_not_depend_on_the_order_of_rows(spec: DatasetSettings) -> None:
    spec = replace(spec, held_out=20)
    before = ids(load_problems(spec, "eval"))
    file = Path(str(spec.path))
    lines = file.read_text().splitlines(keepends=True)
    Random(0).shuffle(lines)
    file.write_text("".join(lines))
    assert set(ids(load_problems(spec, "eval"))) == set(before)


def test_an_evaluation_file_takes_the_place_of_held_out_problems(spec: DatasetSettings, tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"id": "t", "problem": "2+2?", "answer": "4"}])
    spec = replace(spec, eval_path=str(tmp_path / "test.jsonl"), held_out=20)
    assert ids(load_problems(spec, "eval")) == ["t"]
    assert len(load_problems(spec, "train").problems) == 50
    assert ids(load_problems(replace(spec, path=None), "eval")) == ["t"]


def test_limits_take_the_first_problems(spec: DatasetSettings) -> None:
    spec = replace(spec, limit=3, eval_limit=2, held_out=5)
    whole = replace(spec, limit=None, eval_limit=None)
    assert ids(load_problems(spec, "train")) == ids(load_problems(whole, "train"))[:3]
    assert ids(load_problems(spec, "eval")) == ids(load_problems(whole, "eval"))[:2]


@pytest.mark.parametrize(
    ("split", "changes", "count"),
    [
        ("train", {}, 50),
        ("train", {"held_out": 20}, 30),
        ("train", {"held_out": 20, "limit": 7}, 7),
        ("train", {"held_out": 20, "eval_path": "test.jsonl"}, 50),
        ("eval", {"held_out": 20}, 20),
        ("eval", {"held_out": 20, "eval_path": "test.jsonl"}, 2),
        ("eval", {"eval_path": "test.jsonl", "eval_limit": 1}, 1),
        ("eval", {}, None),
        ("train", {"held_out": 50}, None),
        ("train", {"path": "gone.jsonl", "held_out": 5}, None),
        ("train", {"path": None, "eval_path": "test.jsonl"}, None),
    ],
)
def test_problems_of_files_are_counted_without_loading_them(
    spec: DatasetSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: Split,
    changes: dict,
    count: int | None,
) -> None:
    """As many as there are, unless bad rows are skipped; where none is left, it is for loading to say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.jsonl").write_text('{"problem": "2+2?", "answer": "4"}\n \n{"problem": "3+2?", "answer": "5"}')
    spec = replace(spec, **changes)
    assert count_problems(spec, split) == count
    assert count_problems(spec, split, limit=1) == 1
    if count is not None:
        assert len(load_problems(spec, split).problems) == count


def test_what_is_not_there_is_an_error(spec: DatasetSettings) -> None:
    with pytest.raises(DataError, match=r"dataset\.held_out: .* has no evaluation set"):
        load_problems(spec, "eval")
    with pytest.raises(DataError, match=r"dataset\.held_out: 50 of only 50"):
        load_problems(replace(spec, held_out=50), "train")
    with pytest.raises(DataError, match="for evaluation only"):
        load_problems(replace(spec, path=None, eval_path=spec.path), "train")
    with pytest.raises(DataError, match=r"dataset\.eval_path: there is no file"):
        load_problems(replace(spec, eval_path="nowhere.jsonl"), "eval")


def test_the_mini_task_can_have_levels_of_ones_choice() -> None:
    problems = load_problems(DatasetSettings(size=4, levels=(5, 14)), "train").problems
    assert [problem.level for problem in problems] == [5, 14, 5, 14]
    for levels in ((), (1, 2), (17,)):
        with pytest.raises(ValueError, match=r"^levels: must be numbers from 2 to 16, got \["):
            DatasetSettings(levels=levels)


def test_the_mini_task_is_generated() -> None:
    spec = DatasetSettings(size=30, eval_size=20, limit=10)
    train, held = load_problems(spec, "train").problems, load_problems(spec, "eval").problems
    assert (len(train), len(held)) == (10, 20)
    assert load_problems(replace(spec, seed=1), "train").problems != train


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(deadline=60) as verifier:
        yield verifier


def test_problems_with_unreadable_answers_are_left_out_and_reported(verifier: Verifier) -> None:
    answers = ["7", r"\frac{1}{2}", "n/a ???", "(1, 2)"]
    loaded = Loaded([Problem(f"p{i}", "?", answer) for i, answer in enumerate(answers)], ["file, line 9: empty"])
    kept = drop_unreadable(loaded, verifier)
    assert ids(kept) == ["p0", "p1", "p3"]
    assert kept.skipped == ["file, line 9: empty", "problem p2: math-verify cannot read its answer 'n/a ???'"]


def test_overlap_sees_through_case_blanks_and_punctuation() -> None:
    train = [Problem("a", "What is $2 + 3$?", "5"), Problem("b", "Löse x^2 = 4.", "2")]
    held = ["what is 2+3", "What is $2 - 3$?", "LÖSE  x^2=4", "Find x."]
    assert overlap(train, [Problem(str(i), text, "1") for i, text in enumerate(held)]) == 2
    assert overlap([], train) == overlap(train, []) == 0
