"""Runs as Slurm jobs: write the sbatch script, submit it, and find out whether a run is already queued."""

import math
import shlex
import subprocess
from pathlib import Path

from budgetrl.launch.ranks import worker_command
from budgetrl.launch.supervisor import print_message
from budgetrl.runs.folder import RunFolder, write_atomically
from budgetrl.runs.machine import command_output
from budgetrl.settings.launch import SlurmLaunch


def slurm_script(settings: SlurmLaunch, folder: RunFolder) -> str:
    """Return the sbatch script of a run: one task per GPU, with the rendezvous on the first node."""
    path = folder.path.absolute()
    options = {
        "job-name": path.name,
        "nodes": settings.nodes,
        "ntasks-per-node": settings.ranks,
        "gpus-per-node": settings.ranks,
        "cpus-per-task": settings.threads,
        "time": settings.time,
        # SIGTERM some seconds before the time limit, so that the run can save its state.
        "signal": f"TERM@{math.ceil(settings.grace_seconds)}",
        "output": path / "logs" / "slurm-%j.out",
        "partition": settings.partition,
        "account": settings.account,
    }
    header = ["#!/bin/bash"]
    for key, value in options.items():
        if value is not None:
            header.append(f"#SBATCH --{key}={value}")
    # sbatch ignores options after the first command, so the user's #SBATCH lines move to the header.
    commands: list[str] = []
    for line in settings.lines:
        (header if line.startswith("#SBATCH") else commands).append(line)
    return "\n".join([*header, "", *commands, *_commands(settings, folder)]) + "\n"


def _commands(settings: SlurmLaunch, folder: RunFolder) -> list[str]:
    """Return the commands that set up the rendezvous and start the ranks."""
    # srun replaces %t by the number of the task, which is the rank.
    logs = shlex.quote(str(folder.path.absolute() / "logs" / "rank%t.log"))
    return [
        f"cd {shlex.quote(str(Path.cwd()))}",
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        # Derived from the job's number, so that two jobs on one node rarely get the same port.
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        f"export OMP_NUM_THREADS={settings.threads or '${SLURM_CPUS_PER_TASK:-1}'}",
        "export PYTHONUNBUFFERED=1",
        f"srun --kill-on-bad-exit=1 --open-mode=append --output={logs} {shlex.join(worker_command(folder))}",
    ]


def slurm_path(folder: RunFolder) -> Path:
    """Return the path of a run's sbatch script."""
    return folder.path / "slurm.sh"


def submit(folder: RunFolder) -> int:
    """Submit the run's script and record the job's number. Return 0, or 1 if sbatch rejected the script."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["sbatch", "--parsable", str(slurm_path(folder))], capture_output=True, text=True)
    if done.returncode:
        print_message((done.stdout + done.stderr).strip())
        return 1
    job = done.stdout.strip().partition(";")[0]  # --parsable prints "17", or "17;cluster"
    write_atomically(_job_path(folder), job)
    print_message(f"submitted as Slurm job {job}; its output goes to {folder.logs}")
    return 0


def queued_job(folder: RunFolder) -> str | None:
    """Return the number of the run's Slurm job while it is pending or running.

    None if there is no such job, or this machine has no Slurm.
    """
    if not _job_path(folder).exists():
        return None
    job = _job_path(folder).read_text()
    return job if command_output("squeue", "--noheader", "--jobs", job) else None


def _job_path(folder: RunFolder) -> Path:
    return folder.path / "slurm_job.txt"
