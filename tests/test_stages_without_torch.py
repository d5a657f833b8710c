"""Stages that only read files run where torch and transformers cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from budgetrl.core.records import Outcome, Problem
from budgetrl.grading.grader import Graded
from budgetrl.grading.rows import completion_row
from budgetrl.grading.verifier import Verdict
from budgetrl.runs.folder import write_json, write_lines
from budgetrl.settings.config import load_config, to_yaml
from scoring import outcome

WORKER = """
import sys

class Refusal:
    \"\"\"Fails at the import of a package that takes seconds.\"\"\"

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "deepspeed"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refusal())
from budgetrl import worker
worker.main()
"""


def work(folder: Path, stage: dict[str, object], rank: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a rank of a stage by itself, without torch."""
    config = load_config({"stage": stage, "reward": {"name": "accuracy"}, "run": {"dir": str(folder)}})
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RANK": str(rank), "WORLD_SIZE": "2"}
    words = [sys.executable, "-c", WORKER, str(folder)]
    return subprocess.run(words, env=environment, capture_output=True, text=True)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """A finished evaluation of one problem, with verdicts that are not ours."""
    folder = tmp_path / "evaluation"
    written = Outcome(well_formed=True, correct=False, length=3, problem_id="p")
    row = completion_row(
        Problem("p", "1/3 + 1/6?", "1/2"), r"\boxed{0.5}", Graded(Verdict(False, True, False), written)
    )
    write_lines(folder / "completions.jsonl", [{"dataset": "mini", "prefilled": None, **row}])
    write_json(folder / "hashes.json", {"mini": {"problems": "p", "grader": "g"}})
    write_json(folder / "result.json", {"mini/accuracy": 0.0})
    (folder / "config.yaml").write_text(
        to_yaml(load_config({"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}}))
    )
    return folder


def test_an_evaluation_is_graded_anew(evaluation: Path, tmp_path: Path) -> None:
    done = work(tmp_path / "run", {"name": "regrade", "evaluation": str(evaluation)})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["mini/accuracy"] == 1.0
    assert (tmp_path / "run" / "report.md").exists()
    again = work(tmp_path / "again", {"name": "regrade", "evaluation": str(tmp_path / "run")})
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "result.json").read_text() == (tmp_path / "run" / "result.json").read_text()


def test_outcomes_are_scored(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [outcome()])
    done = work(tmp_path / "run", {"name": "score", "input": str(tmp_path / "rows.jsonl")})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["reward"] == 1.0


def test_an_evaluation_is_exported(evaluation: Path, tmp_path: Path) -> None:
    done = work(tmp_path / "run", {"name": "export", "runs": str(evaluation)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "evaluation" / "samples_mini.jsonl").exists()


def test_the_refusal_would_be_noticed(tmp_path: Path) -> None:
    done = work(tmp_path / "run", {"name": "label"})
    assert done.returncode == 1
    assert "torch was imported" in done.stderr


def test_one_rank_does_what_needs_no_model(tmp_path: Path) -> None:
    """As many ranks as there are GPUs may be started: all but the first leave the work alone."""
    write_lines(tmp_path / "rows.jsonl", [outcome()])
    stage: dict[str, object] = {"name": "score", "input": str(tmp_path / "rows.jsonl")}
    second = work(tmp_path / "run", stage, rank=1)
    assert second.returncode == 0, second.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
    assert work(tmp_path / "run", stage, rank=0).returncode == 0
    assert (tmp_path / "run" / "scores.jsonl").exists() and (tmp_path / "run" / "result.json").exists()
