"""A rank: how each end of a stage becomes an exit code, and one run through real processes."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fake_stage
from budgetrl import worker
from budgetrl.core.workload import Workload
from budgetrl.runs.folder import RunFolder, read_rows
from budgetrl.runs.stop import Stop
from budgetrl.runs.tracking import Tracker
from budgetrl.settings.config import load_config, to_yaml
from budgetrl.training.distributed import TorchWorld


@pytest.fixture
def run_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, RunFolder]]:
    """Runs the fake stage to one of its ends, as a given rank of two that need not talk to each other."""

    def run(ends: str, rank: int = 0, tracking: str = "none") -> tuple[int, RunFolder]:
        monkeypatch.setattr(TorchWorld, "join", lambda: TorchWorld(rank, 1, torch.device("cpu")))
        stage = {"name": "fake_stage.FakeStage", "ends": ends}
        config = load_config({"stage": stage, "reward": {"name": "accuracy"}, "tracking": {"name": tracking}})
        (tmp_path / "config.yaml").write_text(to_yaml(config))
        return worker._exit_code(tmp_path, Stop()), RunFolder(tmp_path)

    return run


@pytest.mark.parametrize(
    ("ends", "code"), [("well", 0), ("crash", 1), ("bad row", 2), ("interrupted", 130), ("stopped", 143)]
)
def test_how_a_stage_ends_is_how_the_rank_ends(run_rank: Callable, ends: str, code: int) -> None:
    given, folder = run_rank(ends)
    assert given == code
    assert folder.finished is (code == 0)


def test_wrong_input_is_one_line_and_a_crash_has_a_traceback(
    run_rank: Callable, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run_rank("bad row")
    assert capsys.readouterr().err == "budgetrl: data.jsonl, line 3: no answer\n"
    with caplog.at_level(logging.ERROR):
        run_rank("crash")
    assert "out of numbers" in caplog.text
    assert "fake_stage.py" in caplog.text


def test_only_the_leading_rank_writes(run_rank: Callable) -> None:
    code, folder = run_rank("well", rank=1)
    assert code == 0
    assert {path.name for path in folder.path.iterdir()} == {"config.yaml"}


def test_only_a_stage_that_runs_a_model_is_tracked(run_rank: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(Tracker, "start", lambda spec, *_: started.append(spec.name) or Tracker())
    run_rank("well", tracking="wandb")
    monkeypatch.setattr(fake_stage.FakeStage, "workload", lambda stage, config: Workload())
    run_rank("well", tracking="wandb")
    assert started == ["wandb", "none"]


def test_srun_says_which_rank_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MASTER_ADDR": "node1", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that they are taken away again afterwards
        monkeypatch.delenv(name)
    worker._adopt_slurm_rank()
    assert [os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")] == ["5", "1", "8"]


def test_every_rank_has_random_numbers_of_its_own() -> None:
    def draw(seed: int, rank: int) -> float:
        worker.seed_everything(seed, rank)
        return torch.rand(1).item()

    assert draw(1, 0) == draw(1, 0)
    assert len({draw(1, 0), draw(1, 1), draw(2, 0)}) == 3


@pytest.fixture
def from_the_command_line(repo: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the fake stage on two real ranks, in the folder `there`."""
    (tmp_path / "own" / "stage").mkdir(parents=True)
    (tmp_path / "own" / "stage" / "fake.yaml").write_text(fake_stage.YAML)
    command = [sys.executable, "-m", "budgetrl", "--config-dir", "own", *fake_stage.OVERRIDES]
    path = os.pathsep.join([str(repo / "src"), str(repo / "tests"), os.environ.get("PYTHONPATH", "")])

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "launch.ranks=2", "run.dir=there", *overrides],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.slow
def test_two_real_ranks_from_the_command_line(from_the_command_line: Callable, tmp_path: Path) -> None:
    done = from_the_command_line()
    assert done.returncode == 0, done.stdout + done.stderr
    folder = RunFolder(tmp_path / "there")
    assert folder.read_result() == {"mini/accuracy": 0.5}
    assert [row["step"] for row in read_rows(folder.metrics)] == [1, 2, 3]
    assert folder.log(0).exists()
    assert folder.log(1).exists()


@pytest.mark.slow
def test_a_crash_below_deepspeeds_launcher_is_shown(from_the_command_line: Callable) -> None:
    done = from_the_command_line("launch=deepspeed", "launch.grace_seconds=5", "stage.ends=crash on rank 1")
    assert done.returncode == 1
    assert "the end of there/logs/rank1.log:" in done.stderr
    assert done.stderr.rstrip().endswith("ArithmeticError: out of numbers on rank 1")
