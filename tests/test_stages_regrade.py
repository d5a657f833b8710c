"""An evaluation's completions are graded again without a model, and say what their numbers depend on."""

import json
import shutil
from pathlib import Path

import pytest

from budgetrl.formats.budget import BudgetFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.report.comparison import write_comparison
from budgetrl.runs.folder import write_json, write_lines
from budgetrl.stages.regrade import regraded
from many_runs import QUIET, Start, call_entrypoint, finish_all, log_of, prepare, read_rows, start_all
from test_runs_shared import TINY

pytestmark = pytest.mark.slow

EVALUATE = [
    *("stage=evaluate", "stage.format=budget", "stage.budgets=[20]", "stage.samples=2"),
    *("dataset.eval_size=7", "stage.budget_problems=3"),
]
WRITTEN, COMPLETIONS, RESULT, HASHES = "written", "completions.jsonl", "result.json", "hashes.json"


def prepare_regrade(folder: Path, evaluation: Path, *overrides: str) -> Path:
    return prepare(folder, "stage=regrade", f"stage.evaluation={evaluation}", *overrides)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`written`; `spoilt`, a copy with verdicts of another grader; `again`, which grades that; `hot`, another."""
    root = tmp_path_factory.mktemp("regrade")
    prepare(root / WRITTEN, *EVALUATE)
    prepare(root / "hot", *EVALUATE, "stage.temperature=1.5")
    finish_all([Start(str(root / WRITTEN)), Start(str(root / "hot"))], root)
    shutil.copytree(root / WRITTEN, root / "spoilt")
    rows = []
    for row in read_rows(root / WRITTEN / COMPLETIONS):
        rows.append({**row, "correct": not row["correct"], "well_formed": False, "given_answer": "?"})
    write_lines(root / "spoilt" / COMPLETIONS, rows)
    hashes = json.loads((root / WRITTEN / HASHES).read_text())
    write_json(root / "spoilt" / HASHES, {"mini": {**hashes["mini"], "grader": "one before"}})
    prepare_regrade(root / "again", root / "spoilt")
    finish_all([Start(str(root / "again"))], root)
    return root


def test_grading_anew_gives_the_verdicts_and_numbers_of_the_first_time(root: Path) -> None:
    for name in (COMPLETIONS, RESULT, HASHES):
        assert (root / "again" / name).read_text() == (root / WRITTEN / name).read_text(), name
    assert not [root / name for name in ("again", WRITTEN) if (root / name / "partial").exists()]


def test_what_is_no_finished_evaluation_is_refused(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refused(*overrides: str) -> str:
        assert call_entrypoint(*QUIET, "mode=dry", f"run.dir={root / 'no'}", "stage=regrade", *overrides) == 2
        return capfd.readouterr().err

    assert "stage.evaluation: must be given, as the folder of a finished evaluation" in refused()
    no_result = f"stage.evaluation: there is no {root / RESULT}; name the folder of a finished stage=evaluate"
    assert no_result in refused(f"stage.evaluation={root}")


def test_evaluations_of_two_graders_are_not_compared_until_the_earlier_is_graded_anew(
    root: Path, tmp_path: Path
) -> None:
    by_ours, by_theirs = tmp_path / "by_ours", tmp_path / "by_theirs"
    prepare_regrade(by_ours, root / WRITTEN, f"stage.against={root / 'again'}")
    prepare_regrade(by_theirs, root / WRITTEN, f"stage.against={root / 'spoilt'}")
    assert start_all([Start(str(by_ours)), Start(str(by_theirs))], tmp_path) == [[0], [2]]
    assert json.loads((by_ours / RESULT).read_text())["mini/accuracy_change"] == 0.0
    assert (
        f"stage.against: {root / 'spoilt'} graded mini with another version of the grader; regrade it with "
        f"stage=regrade stage.evaluation={root / 'spoilt'}, then name the regraded folder"
    ) in log_of(by_theirs)


def test_the_evaluations_of_a_pipeline_are_graded_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`initial` is a link to what several runs share."""
    run = tmp_path / "run"
    prepare(run, *TINY, "stage.evaluate.budgets=[20]", f"stage.shared={tmp_path / 'shared'}")
    finish_all([Start(str(run))], tmp_path)
    for name in ("initial", "trained"):
        prepare_regrade(tmp_path / name, run / name)
    finish_all([Start(str(tmp_path / name)) for name in ("initial", "trained")], tmp_path)
    for path in (f"{name}/{file}" for name in ("initial", "trained") for file in (COMPLETIONS, RESULT, HASHES)):
        assert (tmp_path / path).read_text() == (run / path).read_text(), path
    words = [*QUIET, "mode=dry", f"run.dir={tmp_path / 'no'}", "stage=regrade", f"stage.evaluation={run / 'grpo'}"]
    assert call_entrypoint(*words) == 2
    said = f"stage.evaluation: {run / 'grpo'} holds a run of stage=grpo; name the folder of a finished stage=evaluate"
    assert said in capfd.readouterr().err


def test_an_answer_that_was_cut_off_is_not_made_right(root: Path) -> None:
    rows = [{**row, "truncated": True} for row in read_rows(root / WRITTEN / COMPLETIONS)]
    with Verifier(workers=1) as verifier:
        graded = regraded(rows, BudgetFormat(), verifier)
    assert any(row["correct"] for row in rows)
    assert not any(row["correct"] or row["well_formed"] for row in graded)


def test_hashes_tell_what_differs(root: Path) -> None:
    ours, hot = (json.loads((root / name / HASHES).read_text())["mini"] for name in (WRITTEN, "hot"))
    assert {key for key in ours if ours[key] != hot[key]} == {"sampling"}


def test_a_comparison_does_not_rank_numbers_that_were_not_made_alike(root: Path, tmp_path: Path) -> None:
    alike = write_comparison([root / WRITTEN, root / "again"], tmp_path / "alike", ("folder",)).read_text()
    assert "Not ranked" not in alike and "Bold" in alike
    unlike = write_comparison([root / WRITTEN, root / "hot"], tmp_path / "unlike", ("folder",)).read_text()
    section = unlike.partition("## Results")[2].partition("## Configuration differences")[0]
    assert "**Not ranked**: these runs are not comparable. They differ in:\n\n- `sampling`" in section
    assert "prompt" not in section
    assert "<u>" not in unlike and "Bold" not in unlike
    assert r"\textbf" not in (tmp_path / "unlike" / "report.tex").read_text()
