"""Splits, limits and held-out problems of tables."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from budgetrl.data.sources.base import DataError, Loaded, Split
from budgetrl.data.sources.jsonl import JsonlSettings


@pytest.fixture
def dataset(tmp_path: Path) -> JsonlSettings:
    rows = [{"id": f"p{i}", "problem": f"1+{i}?", "answer": f"{i + 1}"} for i in range(50)]
    write(tmp_path / "train.jsonl", rows)
    return JsonlSettings(path=str(tmp_path / "train.jsonl"))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ids(loaded: Loaded) -> list[str]:
    return [problem.id for problem in loaded.problems]


def test_held_out_problems_are_not_trained_on(dataset: JsonlSettings) -> None:
    dataset = replace(dataset, held_out=20)
    train, held = ids(dataset.load("train")), ids(dataset.load("eval"))
    assert len(held) == 20
    assert sorted(train + held) == sorted(f"p{i}" for i in range(50))
    assert held != [f"p{i}" for i in range(20)]


def test_held_out_problems_do_not_depend_on_the_order_of_rows(dataset: JsonlSettings) -> None:
    dataset = replace(dataset, held_out=20)
    before = ids(dataset.load("eval"))
    file = Path(str(dataset.path))
    lines = file.read_text().splitlines(keepends=True)
    Random(0).shuffle(lines)
    file.write_text("".join(lines))
    assert set(ids(dataset.load("eval"))) == set(before)


def test_an_evaluation_file_takes_the_place_of_held_out_problems(dataset: JsonlSettings, tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"id": "t", "problem": "2+2?", "answer": "4"}])
    dataset = replace(dataset, eval_path=str(tmp_path / "test.jsonl"), held_out=20)
    assert ids(dataset.load("eval")) == ["t"]
    assert len(dataset.load("train").problems) == 50
    assert ids(replace(dataset, path=None).load("eval")) == ["t"]


def test_limits_take_the_first_problems(dataset: JsonlSettings) -> None:
    dataset = replace(dataset, limit=3, eval_limit=2, held_out=5)
    whole = replace(dataset, limit=None, eval_limit=None)
    assert ids(dataset.load("train")) == ids(whole.load("train"))[:3]
    assert ids(dataset.load("eval")) == ids(whole.load("eval"))[:2]


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
    dataset: JsonlSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: Split,
    changes: dict,
    count: int | None,
) -> None:
    """As many as there are, unless bad rows are skipped; where none is left, it is for loading to say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.jsonl").write_text('{"problem": "2+2?", "answer": "4"}\n \n{"problem": "3+2?", "answer": "5"}')
    dataset = replace(dataset, **changes)
    assert dataset.count(split) == count
    assert dataset.count(split, 1) == 1
    if count is not None:
        assert len(dataset.load(split).problems) == count


def test_what_is_not_there_is_an_error(dataset: JsonlSettings) -> None:
    with pytest.raises(DataError, match=r"dataset\.held_out: .* has no evaluation set"):
        dataset.load("eval")
    with pytest.raises(DataError, match=r"dataset\.held_out: holding out 50 of 50"):
        replace(dataset, held_out=50).load("train")
    with pytest.raises(DataError, match="for evaluation only"):
        replace(dataset, path=None, eval_path=dataset.path).load("train")
    with pytest.raises(DataError, match=r"dataset\.eval_path: there is no file"):
        replace(dataset, eval_path="nowhere.jsonl").load("eval")
