"""A response format in a package of its own, as CONTRIBUTING describes it: taught, then found in the checkpoint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from budgetrl.grading.rows import Row
from many_runs import QUIET, read_rows

pytestmark = pytest.mark.slow

FEW = {
    "cold_start": ["stage.problems=120", "stage.steps=60", "stage.check_problems=20", "dataset.levels=[2,3,8]"],
    "evaluate": ["stage.problems=30", "dataset.levels=[2,3,8]"],
}


def call(folder: Path, words: str, importable: bool = True) -> "subprocess.CompletedProcess[str]":
    """One of CONTRIBUTING's commands, made small, in a process of its own."""
    own = [str(folder)] if importable else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*own, *sys.path])}
    stage = re.findall(r"stage=(\w+)", words)[0]
    command = [sys.executable, "-m", "budgetrl", *words.split(), *FEW[stage], *QUIET]
    return subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True)


def test_a_format_of_ones_own_is_taught_and_then_asked_for(repo: Path, tmp_path: Path) -> None:
    text = (repo / "CONTRIBUTING.md").read_text()
    ((path, content),) = re.findall(r"```python\n# (my_package/formats\.py)\n(.*?)```", text, re.S)
    (tmp_path / "my_package").mkdir()
    (tmp_path / path).write_text(content)
    (tmp_path / "work").mkdir()
    teach, ask = re.findall(r"^    budgetrl (stage=cold_start .*Sized.*|stage=evaluate .*sized.*)$", text, re.M)

    taught = call(tmp_path, teach)
    assert taught.returncode == 0, taught.stderr + taught.stdout
    folder = tmp_path / "work" / "runs" / "sized"
    learned = json.loads((folder / "checkpoints" / "last" / "budgetrl.json").read_text())
    assert learned["format"]["name"] == "my_package.formats.Sized" and learned["format"]["longest_short"] == 100
    card = (folder / "checkpoints" / "last" / "README.md").read_text()
    assert "begins with `ok` or `hmm`" in card and '# prompt += "ok"' in (folder / "report.md").read_text()

    asked = call(tmp_path, f"{ask} run.dir=evaluation")
    assert asked.returncode == 0, asked.stderr + asked.stdout
    plan = json.loads((tmp_path / "work" / "evaluation" / "plan.json").read_text())
    assert plan["stage"]["format"] == "my_package.formats.Sized (learned by the checkpoint)"
    rows: list[Row] = read_rows(tmp_path / "work" / "evaluation" / "completions.jsonl")
    tagged = [row for row in rows if row["text"].split()[:1] in (["ok"], ["hmm"])]
    assert len(tagged) > 0.8 * len(rows)
    assert all(row["well_formed"] for row in tagged if not row["truncated"])
    assert any(row["correct"] for row in tagged)

    alone = call(tmp_path, f"{ask} run.dir=alone", importable=False)
    assert alone.returncode == 2
    assert "names the response format my_package.formats.Sized: cannot import" in alone.stderr
    assert "install it or add its folder to PYTHONPATH" in alone.stderr
