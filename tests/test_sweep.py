"""Tests of sweeps: in sequence, several at a time, through Slurm; what a restart repeats, and the summary."""

import csv
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import fake_stage
import wandb_record
from budgetrl.cli import main as entry
from budgetrl.cli import scheduler
from budgetrl.cli.request import Invocation, overrides_first
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config, read_config

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, next to a folder with the option stage=fake."""
    (tmp_path / "own" / "stage").mkdir(parents=True)
    (tmp_path / "own" / "stage" / "fake.yaml").write_text(fake_stage.YAML)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Returns a function that starts a sweep in the folder `curve`, and returns the exit code."""

    def call(*argv: str) -> int:
        words = ["budgetrl", "--config-dir", "../own", "-m", "stage=fake", "hydra.sweep.dir=curve", *argv]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the launch: each run ends at once with a length that depends on r_b, or crashes with seed 13."""
    seen: list[float] = []

    def launch(config: Config, folder: RunFolder) -> int:
        r_b = getattr(config.reward, "r_b", 0.0)
        seen.append(r_b)
        if config.seed == 13:
            folder.logs.mkdir(parents=True, exist_ok=True)
            folder.log(0).write_text("Traceback ...\nArithmeticError: out of numbers\n")
            return 1
        folder.write_result({"mini/accuracy": 0.9, "mini/length": 100 + 100 * r_b + config.seed})
        return 0

    monkeypatch.setattr(entry, "launch", launch)
    return seen


SWEEP = ("tracking=none", "reward.r_b=-0.4,0", "seed=1,3,13")


def _summary() -> str:
    return Path("curve/sweep.md").read_text()


@pytest.mark.slow
def test_in_sequence(run: Run, launched: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SWEEP) == 1
    assert launched == [-0.4] * 3 + [0] * 3
    said = capsys.readouterr().out
    assert "6 jobs: 4 done, 2 failed" in said
    assert "ArithmeticError: out of numbers" in said
    assert _summary().startswith("# curve: 6 jobs: 4 done, 2 failed\n\n## Jobs\n\n| state | job | folder | why |\n")
    assert "| done | reward.r_b=-0.4 seed=1 | FakeStage-mini-mini-budget_cosine-s1-" in _summary()
    assert _summary().count(" | ArithmeticError: out of numbers |") == 2
    with open("curve/sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["reward.r_b"], row["runs"], row["length"], row["length_se"]) for row in rows] == [
        ("-0.4", "2", "62", "1"),
        ("0.0", "2", "102", "1"),
    ]
    assert {path.name for path in Path("curve/figures").iterdir()} == {
        f"{name}.{kind}" for name in ("coefficient", "accuracy_length") for kind in ("png", "pdf")
    }


@pytest.mark.slow
def test_a_sweep_started_again_does_what_is_missing_and_says_the_same(run: Run, launched: list[float]) -> None:
    assert run(*SWEEP) == 1
    table = Path("curve/sweep.csv").read_bytes()
    assert run(*SWEEP) == 1
    assert len(launched) == 6 + 2
    assert "# curve: 6 jobs: 4 already done, 2 failed" in _summary()
    assert Path("curve/sweep.csv").read_bytes() == table
    assert run("tracking=none", "reward.r_b=-0.4,0", "seed=1,3") == 0
    assert len(launched) == 6 + 2


def test_the_jobs_of_a_sweep_are_one_wandb_group(run: Run, launched: list[float]) -> None:
    assert run("tracking=none", "seed=1,2", "mode=dry") == 0
    assert run("tracking=none", "seed=3", "tracking.group=mine", "mode=dry") == 0
    groups = [read_config(path).tracking.group for path in sorted(Path("curve").glob("*/config.yaml"))]
    assert groups == ["curve", "curve", "mine"]


@pytest.mark.slow
def test_a_dry_sweep_leaves_plans_alone(run: Run, launched: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SWEEP, "mode=dry") == 0
    assert launched == []
    assert "6 jobs: 6 planned" in capsys.readouterr().out
    assert not Path("curve/sweep.md").exists()


def test_the_plan_is_printed_once_and_each_warning_once(
    run: Run, launched: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tracking=none", "mode=dry", "zero.stage=1,2", "seed=1,3", "launch.ranks=1", "launch.threads=1") == 0
    said = capsys.readouterr().out
    jobs = re.findall(r"^== job (\d) \((.*)\): curve/FakeStage-\S+$", said, re.MULTILINE)
    assert jobs[1] == ("2", "zero.stage=1 seed=3")
    assert len(jobs) == 4
    assert said.count("\nlaunch\n") == 1
    warned = re.findall(r"^warning: zero: (stage \d)", said, re.MULTILINE)
    assert warned == ["stage 1", "stage 2"]  # each of two seeds


def test_a_job_that_cannot_be_composed_is_one_that_failed(
    run: Run, launched: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "read_request", lambda argv: Invocation(overrides_first(argv), None))
    assert run("tracking=none", "stage.steps=0,1") == 1
    assert len(launched) == 1
    assert "| failed | stage.steps=0 |  | stage.steps: must be 1 or more, got 0 |" in _summary()


@pytest.mark.slow
def test_a_sweep_has_a_run_in_its_wandb_group_with_table_and_curves(run: Run, launched: list[float]) -> None:
    def records() -> list[Path]:
        return sorted(Path("curve/wandb").glob("offline-run-*/*.wandb"))

    overrides = ("tracking.mode=offline", "reward.r_b=-0.4,0", "seed=1,3")
    assert run(*overrides) == 0
    (path,) = records()
    record = list(wandb_record.read_records(path))
    assert wandb_record.only(record, "run").run_group == "curve"
    assert wandb_record.summary(record)["jobs"] == 4
    table, curves = wandb_record.history(record)
    assert "sweep" in table
    assert {"figures/coefficient", "figures/accuracy_length"} <= set(curves)
    assert run(*overrides) == 0
    assert records() == [path]  # nothing new to tell


# Several at once

CHILD = f"""#!{sys.executable}
# Stands in for `python -m budgetrl.launch <folder>`. Seeds 1 and 2 wait for each other.
import re, sys, time
from pathlib import Path
folder = Path(sys.argv[3])
seed = int(re.search(r"^seed: (\\d+)", (folder / "config.yaml").read_text(), re.M).group(1))
Path(f"started-{{seed}}").touch()
while seed in (1, 2) and not Path(f"started-{{3 - seed}}").exists():
    time.sleep(0.01)
print("RequestError of its own" if seed == 13 else "well", flush=True)
if seed == 13:
    sys.exit(2)
(folder / "result.json").write_text('{{"mini/accuracy": 0.5}}')
"""


@pytest.mark.slow
def test_several_at_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "python"
    child.write_text(CHILD)
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    assert run("tracking=none", "seed=1,2,13,3", "launch.at_once=2") == 1
    assert "# curve: 4 jobs: 3 done, 1 failed" in _summary()
    assert "| RequestError of its own |" in _summary()
    assert all(path.read_text().strip() for path in Path("curve").glob("FakeStage-*/logs/output.log"))
    monkeypatch.setattr(sys, "executable", "/nowhere")  # nothing is left to start
    assert run("tracking=none", "seed=1,2,3", "launch.at_once=2") == 0


def test_jobs_that_run_at_once_have_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "count_gpus", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [scheduler.gpus_of(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [scheduler.gpus_of(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["5,7", "5,7"]
    assert scheduler.gpus_of(1, 1) == {"CUDA_VISIBLE_DEVICES": "7"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(scheduler, "count_gpus", lambda: 0)
    assert scheduler.gpus_of(1, 2) == {}


WAITS = f"#!{sys.executable}\nimport os, signal, sys, time\n"


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_queue_that_is_told_to_stop_tells_its_jobs_and_starts_no_other(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
) -> None:
    child = tmp_path / "python"
    # A job that has the sweep told to stop, and ends when it is told itself.
    told = "lambda *_: (open('told', 'a').write('x'), os._exit(143))"
    script = f"signal.signal({int(signum)}, {told})\nos.kill(os.getppid(), {int(signum)})\ntime.sleep(60)\n"
    child.write_text(WAITS + script)
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.01)
    assert run("tracking=none", "seed=1,2,3,4", "launch.at_once=2") == code
    assert 1 <= len(Path("told").read_text()) <= 2
    assert not Path("curve/sweep.md").exists()


# Slurm


@pytest.mark.slow
def test_slurm_gets_every_job_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {
        "sbatch": 'echo "$2" >> submitted; wc -l < submitted',  # counts its jobs
        "squeue": '[ "$3" != 2 ] && echo "$3 gpu RUNNING"',  # the second is no longer in the queue
    }
    (tmp_path / "bin").mkdir()
    for name, script in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    overrides = ("tracking=none", "launch=slurm", "seed=1,2,3")
    assert run(*overrides) == 0
    submitted = [Path(line) for line in Path("submitted").read_text().split()]
    assert [path.name for path in submitted] == ["slurm.sh"] * 3
    (submitted[0].parent / "result.json").write_text('{"mini/accuracy": 0.5}')
    (submitted[0].parent / "slurm_job.txt").unlink()
    assert run(*overrides) == 0
    again = Path("submitted").read_text().split()[3:]
    assert again == [str(submitted[1])]
    assert "# curve: 3 jobs: 1 already done, 1 submitted to Slurm, 1 in Slurm's queue" in _summary()


# Killed


@pytest.mark.slow
def test_a_sweep_that_is_killed_halfway_ends_complete_when_started_again(repo: Path, here: Path) -> None:
    seeds = "range(2,14)"
    command = [sys.executable, repo / "tests" / "sweep_parent.py", "--config-dir", "../own", *fake_stage.OVERRIDES]
    command += ["-m", "stage.ends=by seed", f"seed={seeds}", "hydra.sweep.dir=curve", "launch.ranks=1"]
    path = os.pathsep.join([str(repo / "src"), str(repo / "tests"), os.environ.get("PYTHONPATH", "")])

    def start() -> int:
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL).returncode

    def finished() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Path("curve").glob("*/result.json")}

    assert start() == -signal.SIGKILL
    before = finished()
    assert len(before) == fake_stage.KILLER - 2
    assert not Path("curve/sweep.md").exists()
    assert start() == 1
    assert len(finished()) == 11
    assert before.items() <= finished().items()  # not done again
    assert "# curve: 12 jobs: 5 already done, 6 done, 1 failed" in _summary()
    assert f"| failed | seed={fake_stage.CRASHER} |" in _summary()
    assert _summary().count("ArithmeticError: out of numbers |") == 1


NOTES = """#!{python}
# Stands in for `python -m budgetrl.launch <folder>`, without its seconds of importing torch: notes what it has done.
import os, re, signal, sys, time
from pathlib import Path
from budgetrl.runs import lifeline
lifeline.die_with_parent()
folder = Path(sys.argv[3])
seed = int(re.search(r"^seed: (\\d+)", (folder / "config.yaml").read_text(), re.M).group(1))
with open("begun", "a") as file:
    file.write(f"{{seed}}\\n")
if seed == {killer} and not Path("killed").exists():
    Path("killed").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # the parent takes it along
if seed == {crasher}:
    print("ArithmeticError: out of numbers", flush=True)
    sys.exit(1)
(folder / "result.json").write_text('{{"mini/accuracy": 0.5, "mini/length": 9.0}}')
"""
SWEEPS = """
import sys
from budgetrl.cli import main as entry
from budgetrl.cli import scheduler
from budgetrl.cli.request import Invocation, overrides_first
sys.executable = "{child}"
sys.argv[0] = "budgetrl"
entry.main()
"""


@pytest.mark.slow
def test_two_at_once_killed_halfway_end_complete_and_nothing_is_done_twice(repo: Path, tmp_path: Path) -> None:
    child, parent = tmp_path / "child", tmp_path / "parent.py"
    child.write_text(NOTES.format(python=sys.executable, killer=fake_stage.KILLER, crasher=fake_stage.CRASHER))
    child.chmod(0o755)
    parent.write_text(SWEEPS.format(child=child))
    path = os.pathsep.join([str(repo / "src"), str(repo / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, parent, "--config-dir", "../own", *fake_stage.OVERRIDES, "-m", "seed=range(2,14)"]
    command += ["hydra.sweep.dir=curve", "launch.at_once=2"]

    def start() -> int:
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL).returncode

    def results() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Path("curve").glob("*/result.json")}

    assert start() == -signal.SIGKILL
    before = results()
    assert fake_stage.KILLER - 3 <= len(before) <= fake_stage.KILLER - 1  # its neighbor may be done or not
    assert not Path("curve/sweep.md").exists()
    assert start() == 1
    assert before.items() <= results().items()
    assert len(results()) == 11
    begun = Counter(map(int, Path("begun").read_text().split()))
    assert sorted(begun) == [*range(2, 14)]
    assert begun[fake_stage.KILLER] == 2
    assert begun.total() <= 12 + 2  # those that were under way
    counted = re.search(r"# curve: 12 jobs: (\d+) already done, (\d+) done, 1 failed", _summary())
    assert counted and int(counted[1]) + int(counted[2]) == 11
    assert f"| failed | seed={fake_stage.CRASHER} |" in _summary()
    assert _summary().count("ArithmeticError: out of numbers |") == 1


def test_a_search_proposes_the_same_runs_again_and_makes_none_twice(run: Run, launched: list[float]) -> None:
    """Each result is a length that depends on r_b. The search minimizes it."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs budgetrl[search]")
    search = [
        *("reward.r_b=interval(-0.5,0)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"),
        *("hydra.sweeper.sampler.seed=1", "run.metric=mini/length", "hydra.sweeper.direction=minimize"),
    ]
    assert run(*search) == 0
    first = list(launched)
    assert len({*first}) == 3
    best = (Path("curve") / "optimization_results.yaml").read_text()
    assert f"reward.r_b: {min(first)}" in best
    assert run(*search) == 0
    assert launched == first
    assert (Path("curve") / "optimization_results.yaml").read_text() == best
