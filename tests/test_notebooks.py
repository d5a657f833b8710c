"""The notebooks run from top to bottom, and show what they are about."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = ("reward_shapes", "runs_to_figures")


def run(repo: Path, name: str, here: Path) -> list[Any]:
    """Execute a notebook in the folder `here`; the outputs of its cells, in order."""
    notebook = nbformat.read(repo / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(here)}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(outputs: list[Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def printed(outputs: list[Any]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    """No settings or history of the user's, and the budgetrl of this checkout."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(repo / "src"))
    monkeypatch.delenv("BUDGETRL_RUNS", raising=False)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(repo: Path, name: str) -> None:
    notebook = nbformat.read(repo / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not any(cell.outputs or cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_every_notebook_is_run(repo: Path) -> None:
    assert {path.stem for path in (repo / "notebooks").glob("*.ipynb")} == {*NOTEBOOKS}


@pytest.mark.slow
def test_the_shapes_of_the_rewards(repo: Path, tmp_path: Path) -> None:
    outputs = run(repo, "reward_shapes", tmp_path)
    assert pictures(outputs) == 7
    assert "| 200 | 1.20 | 1.20 |\n| 400 | 1.07 | 1.20 |\n| 800 | 0.80 | 1.07 |" in printed(outputs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_runs_to_figures(repo: Path, tmp_path: Path) -> None:
    outputs = run(repo, "runs_to_figures", tmp_path)
    assert pictures(outputs) == 5
    paper = tmp_path / "runs" / "notebook" / "paper"
    figures = ("accuracy_length", "by_level", "cut_off", "length_control", "training")
    assert {path.name for path in paper.glob("*.pdf")} == {f"{name}.pdf" for name in figures}
    assert r"\begin{tabular}" in printed(outputs)
