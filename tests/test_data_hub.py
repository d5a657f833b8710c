"""The `datasets` path, on local folders laid out as the Hub's data sets are."""

from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from budgetrl.core.records import Problem
from budgetrl.data.reading import Fields, multiple_choice
from budgetrl.data.sources.base import DataError
from budgetrl.data.sources.hub import HubSettings

GSM8K = {
    "question": ["How many clips?", "How much?"],
    "answer": ["48/2 = <<48/2=24>>24 clips.\n#### 24", "It is 1,000.\n#### 1,000"],
}
MATH = {
    "problem": ["What is $x$?", "And $y$?"],
    "solution": [r"It is $\boxed{\frac12}$.", r"\boxed{3}, no: \boxed{4}"],
    "level": ["Level 5", "Level ?"],
}
MATH500 = {"problem": ["And $z$?"], "solution": [r"So \boxed{7}."], "level": [2], "unique_id": ["t/1.json"]}


def save(folder: Path, **splits: dict[str, list[object]]) -> str:
    """Write parquet files as the Hub lays them out: data/<split>-00000-of-00001.parquet."""
    (folder / "data").mkdir(parents=True)
    for split, columns in splits.items():
        datasets.Dataset.from_dict(columns).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.fixture
def gsm8k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubSettings:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = save(tmp_path / "gsm8k", train=GSM8K, test={k: v[:1] for k, v in GSM8K.items()})  # pyright: ignore[reportArgumentType]
    fields = Fields(id=None, problem="question", level=None, solution="answer")
    return HubSettings(
        name="gsm8k",
        path=path,
        split="train",
        eval_split="test",
        fields=fields,
        answer_from="gsm8k",
    )


def test_gsm8k_as_the_hub_has_it(gsm8k: HubSettings) -> None:
    assert gsm8k.load("train").problems == [
        Problem("gsm8k-train-0", "How many clips?", "24", None, "gsm8k", "48/2 = 24 clips."),
        Problem("gsm8k-train-1", "How much?", "1000", None, "gsm8k", "It is 1,000."),
    ]
    assert [problem.id for problem in gsm8k.load("eval").problems] == ["gsm8k-test-0"]


@pytest.mark.usefixtures("gsm8k")
def test_math_is_evaluated_on_a_set_of_its_own(tmp_path: Path) -> None:
    spec = HubSettings(
        name="math",
        path=save(tmp_path / "math", train=MATH),  # pyright: ignore[reportArgumentType]
        eval_path=save(tmp_path / "math500", test=MATH500),
        split="train",
        eval_split="test",
        fields=Fields(id=None, answer="solution"),
        answer_from="boxed",
    )
    train, held = spec.load("train").problems, spec.load("eval").problems
    assert [(p.id, p.answer, p.level) for p in train] == [
        ("math-train-0", r"\frac12", 5),
        ("math-train-1", "4", None),
    ]
    assert [(p.id, p.answer, p.level) for p in held] == [("math500-test-0", "7", 2)]


def test_bad_rows_name_set_split_and_row(gsm8k: HubSettings, tmp_path: Path) -> None:
    path = save(tmp_path / "bad", train={"question": ["a", None], "answer": ["#### 1", "#### 2"]})
    spec = replace(gsm8k, path=path, eval_split=None)
    with pytest.raises(DataError, match=r"bad\[train\] row 1: no field 'question'"):
        spec.load("train")
    loaded = replace(spec, on_bad_row="skip").load("train")
    assert len(loaded.problems) == len(loaded.skipped) == 1


@pytest.mark.parametrize(
    "change", [{"split": "validation"}, {"path": "there/is_no_such_set"}, {"config_name": "socratic"}]
)
def test_what_cannot_be_loaded_is_one_error(gsm8k: HubSettings, change: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"dataset\.path: cannot load .*split"):
        replace(gsm8k, **change).load("train")  # pyright: ignore[reportArgumentType]


def test_a_set_without_training_split_is_for_evaluation_only(gsm8k: HubSettings) -> None:
    spec = replace(gsm8k, split=None)
    assert len(spec.load("eval").problems) == 1
    with pytest.raises(DataError, match="gsm8k is for evaluation only"):
        spec.load("train")


@pytest.mark.usefixtures("gsm8k")
def test_multiple_choice_as_gpqa_has_it(tmp_path: Path) -> None:
    columns = {
        "Record ID": ["rec1", "rec2"],
        "Question": ["How hot?", "How cold?"],
        "Correct Answer": ["300 K", "3 K"],
        "Incorrect Answer 1": ["1 K", "30 K"],
        "Incorrect Answer 2": ["10 K", "31 K"],
    }
    wrong = ("Incorrect Answer 1", "Incorrect Answer 2")
    fields = Fields("Record ID", "Question", "Correct Answer", None, None, wrong)
    path = save(tmp_path / "gpqa", train=columns)  # pyright: ignore[reportArgumentType]
    spec = HubSettings(name="gpqa", path=path, eval_split="train", fields=fields)
    problems = spec.load("eval").problems
    for problem, right in zip(problems, ("300 K", "3 K"), strict=True):
        assert f"{problem.answer}) {right}\n" in problem.problem
        assert [line[:2] for line in problem.problem.splitlines()[2:5]] == ["A)", "B)", "C)"]
    assert spec.load("eval").problems == problems  # the same order of choices every time


@pytest.mark.usefixtures("gsm8k")
def test_several_answers_are_one_list(tmp_path: Path) -> None:
    columns = {"id": [1606], "question": ["Solve."], "final_answer": [["2", "-3"]]}
    path = save(tmp_path / "olympiad", train=columns)  # pyright: ignore[reportArgumentType]
    fields = Fields("id", "question", "final_answer", None, None)
    spec = HubSettings(name="olympiadbench", path=path, eval_split="train", fields=fields)
    assert [(p.id, p.answer) for p in spec.load("eval").problems] == [("1606", "2, -3")]


def test_choices_do_not_always_stand_in_the_same_order() -> None:
    letters = [multiple_choice(f"p{n}", "Which?", "right", ["a", "b", "c"])[1] for n in range(200)]
    assert all(30 <= letters.count(letter) <= 70 for letter in "ABCD")
