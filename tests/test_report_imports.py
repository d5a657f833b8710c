"""What reading runs and writing reports costs: no library is imported before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

READING = "budgetrl.report.reading, budgetrl.metrics.results, budgetrl.metrics.definitions"
WRITING = "budgetrl.report.report, budgetrl.report.comparison, budgetrl.report.figures, budgetrl.metrics.summary"


@pytest.mark.parametrize(
    ("modules", "never"),
    [
        (READING, "numpy scipy matplotlib PIL torch transformers"),  # settings import these, so plans pay for them
        (WRITING, "scipy matplotlib PIL torch transformers"),
    ],
)
def test_no_library_is_imported_before_it_is_needed(modules: str, never: str, repo: Path) -> None:
    code = f"import sys, {modules}; print(*sorted(set({never.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repo / "src", text=True, capture_output=True, check=True)
    assert done.stdout.split() == []


def test_a_report_needs_neither_torch_nor_transformers(repo: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, synthetic_run; from budgetrl.report.report import write_report\n"
        "write_report(synthetic_run.pipeline_run(pathlib.Path(sys.argv[1]), problems=7, samples=1, steps=4))\n"
        "print(*sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    environment = {"PYTHONPATH": f"{repo / 'src'}:{repo / 'tests'}"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.split() == []
