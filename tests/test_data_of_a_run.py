"""The problems that a run reads: unchanged since it began, gradable, and not trained on where they are held out."""

from pathlib import Path

import pytest

from alone import context
from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.data.sources.jsonl import JsonlSettings
from budgetrl.data.usable import load_problems, warn_about_overlap
from budgetrl.grading.verifier import Verifier
from budgetrl.runs.context import Context
from budgetrl.settings.config import load_config
from budgetrl.stages import pipeline


def test_a_data_file_that_was_edited_is_refused_when_the_run_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    spec = JsonlSettings(name="mine", path=str(data), held_out=1)

    def load(*answers: int) -> list[str]:
        rows = [f'{{"problem": "How much is {i} and {i}?", "answer": "{n}"}}\n' for i, n in enumerate(answers)]
        data.write_text("".join(rows))
        return [p.answer for p in load_problems(spec, "train", None, Verifier(), context(tmp_path / "run"))]

    first = load(0, 2, 4)
    assert len(first) == 2
    assert load(0, 2, 4) == first
    with pytest.raises(RequestError, match="dataset: the train problems of mine have changed"):
        load(1, 3, 5)


def test_problems_none_of_which_can_be_graded_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"problem": "Why?", "answer": "$$"}\n')
    spec = JsonlSettings(name="mine", eval_path=str(data))
    with pytest.raises(
        RequestError, match="dataset: none of the eval problems of mine can be used: problem data-1: math"
    ):
        load_problems(spec, "eval", None, Verifier(), context(tmp_path / "run"))


def test_a_bad_row_of_an_exam_ends_a_pipeline_before_its_first_part(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    exam.write_text('{"problem": "1+1", "answer": "2"}\n{"problem": "1+2"}\n')
    sets = {"exam": {"name": "exam", "source": "jsonl", "eval_path": str(exam)}}
    stage = {"name": "pipeline", "datasets": ["exam"], "evaluate": {"datasets": ["exam"]}}
    parts = {"stage": stage, "reward": {"name": "accuracy"}, "dataset": {"size": 7, "eval_size": 7}}
    config = load_config({**parts, "eval_datasets": sets})
    with pytest.raises(RequestError, match="exam.jsonl, line 2: no field 'answer'"):
        pipeline.run(config.stage, config, context(tmp_path / "run"))  # pyright: ignore[reportArgumentType]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"data.json"}


def test_held_out_problems_that_are_trained_on_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Context, "print", lambda _, text: said.append(text))
    one, same, other = (
        Problem("a", "How much is 2+2?", "4"),
        Problem("b", "how much is 2 + 2", "4"),
        Problem("c", "3", "3"),
    )
    warn_about_overlap([one], [other], context(tmp_path))
    assert said == []
    warn_about_overlap([one], [same, other], context(tmp_path))
    assert said == ["1 of the 2 held-out problems are also training problems; results on them are biased"]
