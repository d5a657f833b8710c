"""An evaluation's completions are graded anew without a model, and say what their numbers depend on."""

import json
import shutil
from pathlib import Path

import pytest
from test_stages_shared import TINY

from budgetrl.formats.budget import BudgetFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.report.comparison import write_comparison
from budgetrl.runs.folder import write_lines
from budgetrl.stages.evaluate import Evaluate
from budgetrl.stages.pipeline import Pipeline
from budgetrl.stages.regrade import regraded
from many_runs import QUIET, Start, call_entrypoint, finish_all, prepare, read_rows

pytestmark = pytest.mark.slow

EVALUATE = [
    *("stage=evaluate", "stage.format=budget", "stage.budgets=[20]", "stage.samples=2"),
    *("dataset.eval_size=7", "stage.budget_problems=3"),
]
WRITTEN, COMPLETIONS, RESULT, HASHES = "written", "completions.jsonl", "result.json", "hashes.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`written`; `spoilt`, a copy with other verdicts and answers; `again`, which grades that; `hot`, another."""
    root = tmp_path_factory.mktemp("regrade")
    prepare(root / WRITTEN, *EVALUATE)
    prepare(root / "hot", *EVALUATE, "stage.temperature=1.5")
    finish_all([Start(str(root / WRITTEN)), Start(str(root / "hot"))], root)
    shutil.copytree(root / WRITTEN, root / "spoilt")
    spoilt = [{"correct": not row["correct"], "given_answer": "?"} for row in read_rows(root / WRITTEN / COMPLETIONS)]
    rows = [row | other for row, other in zip(read_rows(root / WRITTEN / COMPLETIONS), spoilt, strict=True)]
    write_lines(root / "spoilt" / COMPLETIONS, rows)
    prepare(root / "again", *EVALUATE, f"stage.regrade={root / 'spoilt'}")
    finish_all([Start(str(root / "again"))], root)
    return root


def test_grading_anew_gives_the_verdicts_and_numbers_of_the_first_time(root: Path) -> None:
    for name in (COMPLETIONS, RESULT, HASHES):
        assert (root / "again" / name).read_text() == (root / WRITTEN / name).read_text(), name
    assert not [root / name for name in ("again", WRITTEN) if (root / name / "partial").exists()]


def test_completions_of_other_settings_are_refused(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refused(*overrides: str) -> str:
        assert call_entrypoint(*QUIET, "mode=dry", f"run.dir={root / 'no'}", *EVALUATE, *overrides) == 2
        return capfd.readouterr().err

    of_written = f"stage.regrade={root / WRITTEN}"
    assert "was written with stage.temperature=1.0, not 0.5" in refused(of_written, "stage.temperature=0.5")
    assert "was written with seed=0, not 1" in refused(of_written, "seed=1")
    assert "was written with model.length=body, not response" in refused(of_written, "model.length=response")
    assert "was written with dataset=" in refused(of_written, "dataset.eval_size=14")
    assert "name the folder of a finished stage=evaluate" in refused(f"stage.regrade={root}")


def test_the_evaluations_of_a_pipeline_are_graded_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`initial` is a link to what several runs share."""
    run = tmp_path / "run"
    prepare(run, *TINY, "stage.evaluate.budgets=[20]", f"stage.shared={tmp_path / 'shared'}")
    finish_all([Start(str(run))], tmp_path)
    trained = ["stage.budgets=[20]", f"model.path={run / 'grpo' / 'checkpoints' / 'last'}"]
    data = ["stage=evaluate", "dataset.size=14", "dataset.eval_size=7"]
    settings = {"initial": ["stage.format=plain"], "trained": trained}
    for name, own in settings.items():
        prepare(tmp_path / name, *data, *own, f"stage.regrade={run / name}")
    finish_all([Start(str(tmp_path / name)) for name in settings], tmp_path)
    for path in (f"{name}/{file}" for name in settings for file in (COMPLETIONS, RESULT, HASHES)):
        assert (tmp_path / path).read_text() == (run / path).read_text(), path

    def refused(folder: Path) -> str:
        assert call_entrypoint(*QUIET, "mode=dry", f"run.dir={tmp_path / 'no'}", *data, f"stage.regrade={folder}") == 2
        return capfd.readouterr().err

    assert "was written with stage.format=plain, not auto;" in refused(run / "initial")
    assert f"stage.budgets=[20], not [], and {trained[1]}, not mini;" in refused(run / "trained")
    advice = (
        "config.yaml; name the folder of a finished stage=evaluate, or initial or trained inside that of a pipeline"
    )
    assert advice in refused(run / "grpo")
    assert advice in refused((run / "initial").resolve())


def test_a_pipeline_does_not_grade_anew() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.regrade: is for stage=evaluate"):
        Pipeline(evaluate=Evaluate(regrade="somewhere"))


def test_an_answer_that_was_cut_off_is_not_made_right(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / WRITTEN, tmp_path / "cut")
    rows = [{**row, "truncated": True} for row in read_rows(root / WRITTEN / COMPLETIONS)]
    write_lines(tmp_path / "cut" / COMPLETIONS, rows)
    with Verifier(workers=1) as verifier:
        graded, _ = regraded(tmp_path / "cut", BudgetFormat(), verifier)
    assert any(row["correct"] for row in rows)
    assert not any(row["correct"] for row in graded)


def test_hashes_tell_what_differs(root: Path) -> None:
    ours, hot = (json.loads((root / name / HASHES).read_text())["mini"] for name in (WRITTEN, "hot"))
    assert {key for key in ours if ours[key] != hot[key]} == {"sampling"}


def test_a_comparison_does_not_rank_numbers_that_were_not_made_alike(root: Path, tmp_path: Path) -> None:
    alike = write_comparison([root / WRITTEN, root / "again"], tmp_path / "alike", ("folder",)).read_text()
    assert "Not ranked" not in alike and "Bold" in alike
    unlike = write_comparison([root / WRITTEN, root / "hot"], tmp_path / "unlike", ("folder",)).read_text()
    section = unlike.partition("## Results")[2].partition("## What differs")[0]
    assert "**Not ranked**, since these runs were not measured alike. They differ in\n\n- `sampling`" in section
    assert "prompt" not in section
    assert "<u>" not in unlike and "Bold" not in unlike
    assert r"\textbf" not in (tmp_path / "unlike" / "report.tex").read_text()
