"""Tests of the installed package, and of the project rules that can be checked automatically."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import budgetrl
import synthetic_run

CHECKPOINTS = Path("src/budgetrl/data/mini/checkpoints")


@pytest.fixture(scope="module")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=repo, check=True)
    return next(out.glob("budgetrl-*.whl"))


def _files(folder: Path) -> set[str]:
    """Paths below `folder` that belong in a wheel, relative to it."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in files}


def test_wheel_holds_code_configuration_and_checkpoints(repo: Path, wheel: Path) -> None:
    expected = {f"budgetrl/{name}" for name in _files(repo / "src/budgetrl")}
    expected |= {f"budgetrl/conf/{name}" for name in _files(repo / "conf")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "budgetrl/conf/config.yaml" in held
    assert held == expected


def test_shipped_checkpoints_are_small_and_complete(repo: Path) -> None:
    weights = list((repo / CHECKPOINTS).rglob("*.safetensors"))
    assert weights, f"no checkpoint under {CHECKPOINTS}"
    for path in weights:
        assert path.stat().st_size < 1_000_000, path
        assert (path.parent / "config.json").is_file(), path.parent


def test_wheel_runs_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    """Unpacked outside the checkout, it finds its own configuration and plans the default pipeline."""
    site, cwd = tmp_path / "site", tmp_path / "cwd"
    zipfile.ZipFile(wheel).extractall(site)
    cwd.mkdir()
    command = [sys.executable, "-m", "budgetrl", "mode=dry", "run.dir=there"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (cwd / "there" / "plan.json").is_file()


def test_installed_metadata_match_the_code() -> None:
    metadata = importlib.metadata.metadata("budgetrl")
    assert metadata["Version"] == budgetrl.__version__
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="budgetrl")
    assert script.value == "budgetrl.cli.main:main"


def test_imports_point_down(repo: Path) -> None:
    """In a separate process, because import-linter disables all existing loggers."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


REFUSES = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "deepspeed"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
"""
OUTCOMES = '{"problem_id": "a", "well_formed": true, "correct": true, "length": 90, "budget": 100, "b_max": 100}\n' * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["mode=dry"], 0),
        (["mode=dry", "experiment=shorten", "model.path=mini", "dataset.path=outcomes.jsonl"], 0),
        (["-m", "mode=dry", "seed=1,2", "hydra.sweep.dir=sweep"], 0),
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["stage=grpo", "stage.stepz=1"], 2),
        (["stage=grpo", "stage.group_size=1"], 2),
        (["stage=score", "stage.input=outcomes.jsonl"], 0),
        (["stage=report", "stage.runs=done"], 0),
        (["stage=draw_reward"], 0),
    ],
)
def test_what_needs_no_model_never_imports_torch(tmp_path: Path, repo: Path, overrides: list[str], code: int) -> None:
    """Checks the parent and its child processes: every Python process imports `sitecustomize` first."""
    (tmp_path / "sitecustomize.py").write_text(REFUSES)
    (tmp_path / "outcomes.jsonl").write_text(OUTCOMES)
    synthetic_run.evaluate_run(tmp_path / "done")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(repo / "src")])}
    quiet = [] if overrides[0].startswith("--") else ["tracking=none"]
    command = [sys.executable, "-m", "budgetrl", *overrides, *quiet]
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "is imported" not in done.stdout + done.stderr


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSES)
    command = [sys.executable, "-c", "import budgetrl.policy.loading"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True, capture_output=True)
    assert "torch is imported" in done.stderr


@pytest.mark.parametrize("module", ["budgetrl.cli.main", "budgetrl.worker"])
def test_what_every_run_imports_is_light(module: str) -> None:
    """Heavy packages for data, tracking, statistics and figures are imported only where they are used."""
    heavy = ["datasets", "matplotlib", "pandas", "pyarrow", "scipy", "numpy", "wandb", "huggingface_hub"]
    code = f"import sys, {module}, budgetrl.settings.stages.pipeline; print(*(sys.modules.keys() & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_make_help_lists_every_target(repo: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    phony = re.findall(r"^\.PHONY: (\S+)", (repo / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run([make, "help"], cwd=repo, text=True, capture_output=True, check=True).stdout
    assert phony
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == phony


def test_every_dependency_is_pinned(repo: Path) -> None:
    """constraints.txt holds the tested version of each package that the installed budgetrl names."""
    pins = set(re.findall(r"^([\w.-]+)==", (repo / "constraints.txt").read_text().lower(), re.MULTILINE))
    requires = importlib.metadata.requires("budgetrl") or []
    named = {re.match(r"[\w.-]+", line)[0].lower() for line in requires}  # pyright: ignore[reportOptionalSubscript]
    assert named
    assert named <= pins
