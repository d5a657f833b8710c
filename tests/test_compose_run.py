"""Tests of the parent process, from the command line to the written run folder, without starting ranks."""

import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import fake_stage
from budgetrl.cli import main as entry
from budgetrl.cli.hydra_app import metric_of
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config, read_config
from budgetrl.settings.strict import ConfigError

Run = Callable[..., int]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Replaces the launch: each run finishes at once, or fails with seed 13. Collects the configurations."""
    seen: list[Config] = []

    def launch(config: Config, folder: RunFolder) -> int:
        seen.append(config)
        if config.seed == 13:
            return 1
        if config.seed == 143:
            return 143
        if config.seed == 15:  # told to stop when all was done
            folder.write_result({})
            raise SystemExit(0)
        folder.write_result({"mini/accuracy": config.seed / 10})
        return 0

    monkeypatch.setattr(entry, "launch", launch)
    return seen


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: list[Config]) -> Run:
    """Returns a function that calls the entry point with a user-defined stage, and returns the exit code."""
    (tmp_path / "own" / "stage").mkdir(parents=True)
    (tmp_path / "own" / "stage" / "fake.yaml").write_text(fake_stage.YAML)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*argv: str) -> int:
        words = ["budgetrl", "--config-dir", str(tmp_path / "own"), *fake_stage.OVERRIDES, *argv]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


def test_run_files_are_written_before_the_launch(
    run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run.dir=there", "seed=3") == 0
    there = RunFolder("there")
    assert read_config(there.config) == launched[0]
    assert json.loads(there.plan.read_text())["stage"] == {"steps": 3}
    environment = json.loads(there.environment.read_text())
    assert environment["seed"] == 3
    assert "torch" in environment["versions"]
    assert os.access(there.launch_script, os.X_OK)
    assert "-m budgetrl.launch" in there.launch_script.read_text()
    assert "ZeRO" in capsys.readouterr().out
    assert {path.name for path in Path.cwd().iterdir()} == {"there"}


def test_finished_runs_are_skipped_unfinished_ones_resumed_and_other_settings_rejected(
    run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run.dir=there", "seed=13") == 1
    assert run("run.dir=there", "seed=13", "launch.threads=1") == 1
    assert len(launched) == 2
    RunFolder("there").write_result({})
    assert run("run.dir=there", "seed=13") == 0
    assert len(launched) == 2
    assert "already done: there/result.json" in capsys.readouterr().out
    assert run("run.dir=there", "seed=14", "reward.r_b=-0.1") == 2
    differing = "reward.r_b (-0.4 there, -0.1 now), seed (13 there, 14 now)"
    hint = "use the same settings, set another run.dir, or delete this folder"
    said = f"budgetrl: run.dir: there has a run with different settings: {differing}; {hint}\n"
    assert capsys.readouterr().err == said
    assert len(launched) == 2


def test_dry_plans_and_stops(run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mode=dry", "launch=slurm", "launch.lines=[module load cuda]") == 0
    assert launched == []
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("FakeStage-mini-mini-budget_cosine-s0-")
    assert {"config.yaml", "plan.json", "launch.sh", "slurm.sh"} <= {path.name for path in folder.iterdir()}
    assert "module load cuda" in capsys.readouterr().out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", [3, 13])  # finished, and broken
def test_a_dry_run_leaves_a_run_that_was_started_alone(run: Run, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    run("run.dir=there", f"seed={seed}", "launch.threads=1")
    before = contents(Path("there"))
    capsys.readouterr()
    assert run("run.dir=there", f"seed={seed}", "mode=dry", "launch=slurm", "launch.ranks=4") == 0
    assert contents(Path("there")) == before
    shown = capsys.readouterr().out
    assert re.search(r"ranks +4\n", shown)
    assert "#SBATCH --ntasks-per-node=4" in shown


def test_a_dry_run_plans_a_run_that_can_be_started_as_it_stands(run: Run) -> None:
    assert run("run.dir=there", "mode=dry") == 0
    assert run("run.dir=there", "mode=dry", "launch.threads=2") == 0
    frozen = read_config(Path("there/config.yaml"))
    assert (frozen.mode, frozen.launch.threads) == ("run", 2)
    assert not Path("there/env.json").exists()


def test_a_folder_with_only_a_plan_is_for_any_run(
    run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    there = Path("there/config.yaml")
    for seed in (3, 4):
        assert run("run.dir=there", "mode=dry", f"seed={seed}") == 0
        assert read_config(there).seed == seed
    assert run("run.dir=there", "seed=13") == 1
    assert launched[0] == read_config(there)
    # Now a run has started there.
    for mode in ("dry", "run"):
        assert run("run.dir=there", "seed=6", f"mode={mode}") == 2
        assert capsys.readouterr().err.endswith("set another run.dir, or delete this folder\n")
    assert read_config(there).seed == 13


def test_every_start_is_kept_the_first_one_on_top(run: Run) -> None:
    for threads in (1, 2, 3):
        assert run("run.dir=there", "seed=13", f"launch.threads={threads}") == 1
    first = json.loads(Path("there/env.json").read_text())
    starts = [first, *first["starts"]]
    assert len(starts) == 3
    assert all(f"launch.threads={n}" in start["command"] for n, start in enumerate(starts, start=1))
    assert all("git" in start and "versions" in start for start in starts)


@pytest.mark.parametrize(
    "wrong",
    [
        ["stage=grpo", "model=hf", "model.path=/nowhere"],
        ["launch=deepspeed", "launch.hostfile=/nowhere"],
    ],
)
@pytest.mark.parametrize("mode", ["run", "dry"])
def test_a_run_that_cannot_be_planned_creates_nothing(run: Run, wrong: list[str], mode: str) -> None:
    assert run(*wrong, f"mode={mode}", "run.dir=there") == 2
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.parametrize("mode", ["run", "dry"])
def test_a_run_folder_that_cannot_be_made_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], place: str, mode: str
) -> None:
    Path("file").touch()
    assert run(f"run.dir={place}", f"mode={mode}") == 2
    assert re.fullmatch(f"budgetrl: run.dir: cannot use {place} as the run folder: .+\n", capsys.readouterr().err)


def test_slurm_without_sbatch_creates_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run("launch=slurm") == 2
    assert capsys.readouterr().err.startswith("budgetrl: launch: slurm needs the command sbatch")
    assert list(Path.cwd().iterdir()) == []


def test_entries_of_ones_own_need_two_plus_signs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stage=score", "reward=hapo", "reward.history={a: 3}") == 2
    assert "reward.history: to add entries of your own, write '++reward.history={a: 3}'" in capsys.readouterr().err


def test_a_wrong_request_ends_with_2_and_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("reward.rb=1") == 2
    assert capsys.readouterr().err == "budgetrl: reward.rb: there is no such key; did you mean reward.r_b?\n"
    assert list(Path.cwd().iterdir()) == []


def test_a_failed_job_does_not_end_a_sweep(
    run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", "seed=1,13,2", "hydra.sweep.dir=sweeps/a") == 1
    assert [config.seed for config in launched] == [1, 13, 2]
    assert len(list(Path("sweeps/a").glob("FakeStage-*"))) == 3
    assert {path.name for path in Path.cwd().iterdir()} == {"sweeps"}
    assert "\n3 jobs: 2 done, 1 failed\ndone  seed=1  FakeStage-mini-" in capsys.readouterr().out


def test_a_sweep_that_is_told_to_stop_stops(run: Run, launched: list[Config]) -> None:
    assert run("-m", "seed=1,143,2") == 143
    assert [config.seed for config in launched] == [1, 143]


def test_a_sweep_that_is_told_to_stop_while_a_job_ends_starts_no_other(run: Run, launched: list[Config]) -> None:
    assert run("-m", "seed=1,15,2") == 143
    assert [config.seed for config in launched] == [1, 15]
    assert run("seed=15") == 0


def test_a_sweeper_gets_the_metric(run: Run, launched: list[Config]) -> None:
    assert run("seed=3", "run.dir=there", "run.metric=mini/accuracy") == 0
    config = launched[0]
    assert metric_of(config, 0) == 0.3
    assert math.isnan(metric_of(config, 1) or 0)
    assert metric_of(replace(config, mode="dry"), 0) is None
    with pytest.raises(ConfigError, match="run.metric: result.json has no mini/acuracy; did you mean mini/accuracy"):
        metric_of(replace(config, run=replace(config.run, metric="mini/acuracy")), 0)


def test_a_metric_that_no_result_has_ends_a_sweep_at_its_first_job(
    run: Run, launched: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", "seed=1,2", "run.metric=mini/acuracy") == 2
    assert [config.seed for config in launched] == [1]
    said = "budgetrl: run.metric: result.json has no mini/acuracy; did you mean mini/accuracy?\n"
    assert capsys.readouterr().err == said


def test_help_fits_a_screen_and_explains_the_groups(run: Run, repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 35
    assert max(map(len, text.splitlines())) <= 120
    assert "reward      the reward of a completion: aalc, accuracy, adactrl" in text
    assert (
        "stage       what to run: cold_start, draw_reward, evaluate, export, fake, grpo" in text
    )  # the user's own among them
    assert "mode        run, or dry: only print and write the plan" in text
    for group in filter(Path.is_dir, (repo / "conf").iterdir()):
        assert f"\n  {group.name:<11} " in text
    assert run("--cfg", "job") == 0
    assert "r_b: -0.4" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []
