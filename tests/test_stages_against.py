"""An evaluation is compared with an earlier one, by problem, and only where both were measured alike."""

import json
from pathlib import Path

import pytest

from budgetrl.core.errors import RequestError
from budgetrl.grading.rows import outcomes_by_problem, unprefilled_rows
from budgetrl.metrics.summary import compare
from budgetrl.report.against import EarlierEvaluation, changes
from budgetrl.report.comparison import write_comparison
from budgetrl.report.reading import evaluation_errors
from budgetrl.report.report import write_report
from budgetrl.runs.folder import write_json, write_lines
from budgetrl.settings.stages.evaluate import Evaluate
from budgetrl.settings.stages.pipeline import Pipeline
from many_runs import Start, finish_all, log_of, prepare, read_rows, start_all

HASHES = {"problems": "p", "prompt": "q", "sampling": "s", "measure": "m", "grader": "g"}
EVALUATE = ["stage=evaluate", "dataset.eval_size=7", "stage.samples=2"]


def row(problem: str, length: int, correct: bool = True, dataset: str = "mini", prefilled: int | None = None) -> dict:
    known = {"well_formed": True, "correct": correct, "length": length, "budget": None}
    return {"dataset": dataset, "prefilled": prefilled, "problem_id": problem, **known}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A finished evaluation of two problems, and one with a given budget."""
    folder = tmp_path / "earlier"
    write_lines(folder / "completions.jsonl", [row("a", 100), row("b", 300), row("a", 9, prefilled=8)])
    write_json(folder / "hashes.json", {"mini": HASHES})
    write_json(folder / "result.json", {})
    return folder


def test_changes_are_paired_by_problem_over_budgets_of_the_models_own(earlier: Path) -> None:
    before = EarlierEvaluation.read(earlier)
    before.require_comparable({"mini": HASHES | {"prompt": "another format's"}})
    after = unprefilled_rows([row("a", 40), row("b", 60, correct=False), row("b", 5, prefilled=8)])
    changed = changes(before.rows, after).flat()
    assert (changed["mini/compression"], changed["mini/accuracy_change"]) == (0.75, -0.5)
    assert changed["mini/accuracy_change_low"] < -0.5 < changed["mini/accuracy_change_high"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"gsm8k": HASHES}, "has no data set gsm8k, only mini; evaluate it on gsm8k too"),
        ({"mini": HASHES | {"problems": "x"}}, "measured other problems of mini; evaluate both on the same"),
        ({"mini": HASHES | {"sampling": "x"}}, "sampled mini with another temperature, token limit, number"),
        ({"mini": HASHES | {"measure": "x"}}, r"counted tokens of mini with another model\.length or tokenizer"),
        ({"mini": HASHES | {"grader": "x"}}, r"graded mini with another .*regrade it.* stage\.evaluation="),
    ],
)
def test_an_evaluation_of_something_else_is_refused(earlier: Path, now: dict, said: str) -> None:
    with pytest.raises(RequestError, match=rf"stage\.against: {earlier} {said}"):
        EarlierEvaluation.read(earlier).require_comparable(now)


def test_evaluations_that_do_not_say_how_they_count_tokens_are_alike_only_to_each_other(earlier: Path) -> None:
    silent = {key: value for key, value in HASHES.items() if key != "measure"}
    with pytest.raises(RequestError, match="counted tokens of mini"):
        EarlierEvaluation.read(earlier).require_comparable({"mini": silent})
    write_json(earlier / "hashes.json", {"mini": silent})
    EarlierEvaluation.read(earlier).require_comparable({"mini": silent})
    with pytest.raises(RequestError, match="or did not record"):
        EarlierEvaluation.read(earlier).require_comparable({"mini": HASHES})


@pytest.mark.parametrize("lacks", ["result.json", "completions.jsonl", "hashes.json"])
def test_a_folder_without_a_finished_evaluation_is_refused(earlier: Path, lacks: str) -> None:
    (earlier / lacks).unlink()
    with pytest.raises(RequestError, match=rf"stage\.against: there is no .*{lacks}; name the folder of a finished"):
        EarlierEvaluation.read(earlier)
    (told,) = evaluation_errors("stage.against", earlier)  # which a plan says, too
    assert lacks in told.text


def test_a_finished_evaluation_lacks_nothing(earlier: Path) -> None:
    assert evaluation_errors("stage.against", earlier) == []


def test_a_pipeline_is_compared_with_its_own_initial_model() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.against: cannot be set in a pipeline"):
        Pipeline(evaluate=Evaluate(against="somewhere"))


@pytest.mark.slow
def test_an_evaluation_says_what_changed_since_another(tmp_path: Path) -> None:
    initial, trained = tmp_path / "initial-s0", tmp_path / "trained-s0"
    prepare(initial, *EVALUATE, "stage.format=plain")
    prepare(trained, *EVALUATE, "stage.budgets=[20]", f"stage.against={initial}")
    finish_all([Start(str(initial)), Start(str(trained))], tmp_path)
    regraded, other = tmp_path / "regraded", tmp_path / "other"
    prepare(regraded, "stage=regrade", f"stage.evaluation={trained}", f"stage.against={initial}")
    prepare(other, *EVALUATE, "dataset.eval_size=14", f"stage.against={initial}")
    assert start_all([Start(str(regraded)), Start(str(other))], tmp_path) == [[0], [2]]
    result = json.loads((trained / "result.json").read_text())
    before, after = (
        outcomes_by_problem([r for r in read_rows(folder / "completions.jsonl") if r["prefilled"] is None])
        for folder in (initial, trained)
    )
    expected = compare(before, after).labeled("mini").flat()
    assert expected["mini/compression_low"] and result == {**result, **expected}
    assert (regraded / "result.json").read_text() == (trained / "result.json").read_text()
    assert json.loads((initial / "hashes.json").read_text())["mini"].keys() == HASHES.keys()
    _, _, changes_on = write_report(trained).read_text().partition("## Changes from the earlier evaluation")
    assert "| mini | " in changes_on.partition("Compared with `")[0]
    table = write_comparison([initial, trained], tmp_path / "out", ("folder",)).with_suffix(".csv").read_text()
    assert "compression,compression_se,compression_low,compression_high" in table
    assert "measured other problems of mini" in log_of(other)
    assert not (other / "partial").exists()
