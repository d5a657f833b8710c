"""An evaluation's completions are graded anew without a model, and say what their numbers depend on."""

import json
import shutil
from pathlib import Path

import pytest

from budgetrl.report.comparison import write_comparison
from budgetrl.run.folder import write_lines
from budgetrl.stages.evaluate import Evaluate
from budgetrl.stages.pipeline import Pipeline
from many_runs import QUIET, Start, call_entrypoint, finish_all, prepare, read_rows

pytestmark = pytest.mark.slow

EVALUATE = [
    *("stage=evaluate", "stage.format=budget", "stage.budgets=[20]", "stage.samples=2"),
    *("dataset.eval_size=7", "stage.budget_problems=3"),
]
WRITTEN, COMPLETIONS, RESULT, HASHES = "written", "completions.jsonl", "result.json", "hashes.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`written`; `spoilt`, a copy with all verdicts turned round; `again`, which grades that; `hot`, another."""
    root = tmp_path_factory.mktemp("regrade")
    prepare(root / WRITTEN, *EVALUATE)
    prepare(root / "hot", *EVALUATE, "stage.temperature=1.5")
    finish_all([Start(str(root / WRITTEN)), Start(str(root / "hot"))], root)
    shutil.copytree(root / WRITTEN, root / "spoilt")
    rows = [{**row, "correct": not row["correct"]} for row in read_rows(root / WRITTEN / COMPLETIONS)]
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


def test_a_pipeline_does_not_grade_anew() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.regrade: is for stage=evaluate"):
        Pipeline(evaluate=Evaluate(regrade="somewhere"))


def test_hashes_tell_what_differs(root: Path) -> None:
    ours, hot = (json.loads((root / name / HASHES).read_text()) for name in (WRITTEN, "hot"))
    assert {key for key in ours if ours[key] != hot[key]} == {"sampling"}


def test_a_comparison_warns_of_numbers_that_were_not_made_alike(root: Path, tmp_path: Path) -> None:
    alike = write_comparison([root / WRITTEN, root / "again"], tmp_path / "alike").read_text()
    assert "Compare with care" not in alike
    unlike = write_comparison([root / WRITTEN, root / "hot"], tmp_path / "unlike").read_text()
    section = unlike.partition("## Compare with care")[2].partition("##")[0]
    assert "- `sampling` (temperature" in section
    assert "`prompt`" not in section
