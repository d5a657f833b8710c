"""The package as a user gets it, and the house rules that a machine can check."""

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
    """Unpacked away from the checkout, it finds its own configuration and plans the default story."""
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


def test_imports_point_down(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlinter.cli import lint_imports

    monkeypatch.chdir(repo)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


@pytest.mark.parametrize(
    ("imported", "slow"),
    [
        ("budgetrl.__main__", ["torch", "transformers"]),
        ("budgetrl.stages.pipeline", ["transformers.modeling_utils", "deepspeed"]),
    ],
)
def test_a_wrong_request_waits_for_no_heavy_import(imported: str, slow: list[str]) -> None:
    """What the parent imports before it can refuse a key; and a stage, for the values of its own keys."""
    code = f"import sys, {imported}; sys.exit(' '.join(sys.modules.keys() & {slow!r}))"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stderr.strip() == ""


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
