"""Launchers: environments, command lines, the sbatch script, and resuming a run folder."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from budgetrl.core.errors import RequestError
from budgetrl.launch import ranks, slurm, start
from budgetrl.launch.__main__ import main
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config, load_config, to_yaml
from budgetrl.settings.launch import DeepspeedLaunch, LocalLaunch, SlurmLaunch


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "my run")


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, no GPU, nothing set by the user."""
    monkeypatch.setattr("budgetrl.settings.launch.count_cores", lambda: 8)
    monkeypatch.setattr(ranks, "count_gpus", lambda: 0)
    monkeypatch.setattr("budgetrl.settings.launch.count_gpus", lambda: 0)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SLURM_PROCID", *ranks.CPU_MALLOC):
        monkeypatch.delenv(name, raising=False)


def config(**spec: Any) -> Config:
    return load_config(
        {"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "accuracy"}, "launch": spec, "mode": "run"}
    )


def test_local_ranks_know_each_other(folder: RunFolder) -> None:
    first, second = ranks.local_ranks(LocalLaunch(ranks=2), folder, {"X": "y"})
    assert first.command[1:] == ["-m", "budgetrl.worker", str(folder.path)]
    assert [(c.environment["RANK"], c.environment["LOCAL_RANK"], c.shown) for c in (first, second)] == [
        ("0", "0", True),
        ("1", "1", False),
    ]
    for child in (first, second):
        assert child.environment["WORLD_SIZE"] == child.environment["LOCAL_WORLD_SIZE"] == "2"
        assert child.environment["MASTER_ADDR"] == "127.0.0.1"
        assert child.environment["X"] == "y"
    assert first.environment["MASTER_PORT"] == second.environment["MASTER_PORT"]
    assert second.log == folder.path / "logs" / "rank1.log"


def test_cores_are_shared_out_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.rank_environment(LocalLaunch(ranks=3))["OMP_NUM_THREADS"] == "2"
    assert ranks.rank_environment(LocalLaunch(ranks=99))["OMP_NUM_THREADS"] == "1"
    assert ranks.rank_environment(LocalLaunch(ranks=2, at_once=2))["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert "OMP_NUM_THREADS" not in ranks.rank_environment(LocalLaunch(ranks=3))
    assert ranks.rank_environment(LocalLaunch(ranks=3, threads=4))["OMP_NUM_THREADS"] == "4"


def test_malloc_is_tuned_on_cpus_alone_and_only_where_the_user_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.CPU_MALLOC.items() <= ranks.rank_environment(LocalLaunch()).items()
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    assert "MALLOC_TOP_PAD_" not in ranks.rank_environment(LocalLaunch())
    monkeypatch.setattr(ranks, "count_gpus", lambda: 2)
    assert not ranks.CPU_MALLOC.keys() & ranks.rank_environment(LocalLaunch())


@pytest.mark.parametrize(
    ("spec", "visible", "devices"),
    [
        ({"ranks": 2}, None, ["--num_gpus", "2"]),
        ({}, None, ["--num_gpus", "1"]),
        ({"ranks": 2}, "3,5,7", ["--include", "localhost:3,5"]),
        ({"hostfile": "hosts"}, "3,5", ["--hostfile", "hosts"]),
        ({"hostfile": "hosts", "ranks": 4}, None, ["--hostfile", "hosts", "--num_gpus", "4"]),
    ],
)
def test_devices_passed_to_deepspeeds_launcher(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], visible: str | None, devices: list[str]
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    command = ranks.deepspeed_command(DeepspeedLaunch(**spec), folder)
    assert "--no_local_rank" in command
    port = command.index("--master_port")
    assert command[port + 2 :] == [*devices, "--module", "budgetrl.worker", str(folder.path)]


def test_the_sbatch_script(folder: RunFolder, tmp_path: Path) -> None:
    spec = SlurmLaunch(
        nodes=2,
        ranks=4,
        partition="gpu",
        time="01:00:00",
        grace_seconds=90,
        lines=["module load cuda", "#SBATCH --mem=0"],
    )
    lines = slurm.slurm_script(spec, folder).splitlines()
    head, body = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert head[0] == "#!/bin/bash"
    assert all(line.startswith("#SBATCH --") for line in head[1:])  # sbatch reads no options after a command
    for option in (
        "nodes=2",
        "ntasks-per-node=4",
        "gpus-per-node=4",
        "partition=gpu",
        "time=01:00:00",
        "mem=0",
        "signal=TERM@90",
    ):
        assert f"#SBATCH --{option}" in head
    assert not [line for line in head if "account" in line or "cpus-per-task" in line]
    assert body[0] == "module load cuda"
    assert re.fullmatch(rf"srun .*rank%t\.log' \S+ -m budgetrl.worker '{folder.path}'", body[-1])
    script = tmp_path / "slurm.sh"
    script.write_text("\n".join(lines))
    subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake Slurm whose only job is queued while the file `queue` exists. Returns the folder of its commands."""
    commands = {
        "sbatch": '[ $# = 2 ] && [ "$1" = --parsable ] && touch "$0.$(basename "$2")" && echo "17;east"',
        "squeue": '[ "$*" = "--noheader --jobs 17" ] && cat "$(dirname "$0")/queue"',
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_submitting_prints_the_number_of_the_job(
    folder: RunFolder, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start.check_launcher(config(name="slurm", ranks=1).launch, folder)
    assert start.launch(config(name="slurm", ranks=1), folder) == 0
    assert (cluster / "sbatch.slurm.sh").exists()
    assert "submitted as Slurm job 17;" in capsys.readouterr().err
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'no such partition' >&2\nexit 3\n")
    assert slurm.submit(folder) == 1
    assert "no such partition" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["slurm", "local"])
def test_a_run_with_a_slurm_job_is_not_started_again(folder: RunFolder, cluster: Path, name: str) -> None:
    spec = config(name=name, ranks=1).launch
    slurm.submit(folder)
    (cluster / "queue").write_text("17 gpu RUNNING\n")
    with pytest.raises(RequestError, match="this run is already Slurm job 17; wait for it"):
        start.check_launcher(spec, folder)
    (cluster / "queue").write_text("")
    start.check_launcher(spec, folder)
    (cluster / "queue").unlink()  # squeue fails, as it does for a job long gone
    start.check_launcher(spec, folder)
    (cluster / "squeue").unlink()
    start.check_launcher(spec, folder)


def test_slurm_needs_sbatch(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="sbatch"):
        start.check_launcher(SlurmLaunch(ranks=1), folder)


def test_the_launch_script_is_sound_shell(folder: RunFolder, tmp_path: Path) -> None:
    script = tmp_path / "launch.sh"
    script.write_text(start.launch_script(folder, ["stage=grpo", "stage.datasets=[a, b]", "evil=\n rm"]))
    subprocess.run(["sh", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")][-1].endswith(f"-m budgetrl.launch '{folder.path}'")
    assert len([line for line in lines if not line.startswith("#")]) == 2  # nothing of the request is run


def test_a_folder_is_started_again_unless_it_is_done(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Config] = []
    monkeypatch.setattr(start, "launch", lambda config, folder: seen.append(config) or 0)
    folder.create()
    folder.config.write_text(to_yaml(config(threads=1)))
    assert start.relaunch(folder.path) == 0
    assert seen == [config(threads=1)]
    assert folder.started
    folder.write_result({})
    assert start.relaunch(folder.path) == 0
    assert len(seen) == 1
    assert "already done" in capsys.readouterr().err


def test_other_folders_than_run_folders_are_rejected(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(folder.path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "budgetrl: name one run folder: python -m budgetrl.launch <run folder>"
    assert said[1] == f"budgetrl: {folder.path}: not a run folder (it has no config.yaml); check the path"
