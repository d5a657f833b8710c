"""A run as a Slurm job: its sbatch script, its submission, and whether slurm has it already."""

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
    """The sbatch script of a run: one task a GPU, the rendezvous on the first node."""
    path = folder.path.absolute()
    options = {
        "job-name": path.name,
        "nodes": settings.nodes,
        "ntasks-per-node": settings.ranks,
        "gpus-per-node": settings.ranks,
        "cpus-per-task": settings.threads,
        "time": settings.time,
        "signal": f"TERM@{math.ceil(settings.grace_seconds)}",
        "output": path / "logs" / "slurm-%j.out",
        "partition": settings.partition,
        "account": settings.account,
    }
    own = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    theirs = [line for line in settings.lines if line.startswith("#SBATCH")]
    commands = [line for line in settings.lines if not line.startswith("#SBATCH")]
    return "\n".join(["#!/bin/bash", *own, *theirs, "", *commands, *_slurm_body(settings, folder)]) + "\n"


def _slurm_body(settings: SlurmLaunch, folder: RunFolder) -> list[str]:
    logs = shlex.quote(str(folder.path.absolute() / "logs" / "rank%t.log"))
    return [
        f"cd {shlex.quote(str(Path.cwd()))}",
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        f"export OMP_NUM_THREADS={settings.threads or '${SLURM_CPUS_PER_TASK:-1}'}",
        "export PYTHONUNBUFFERED=1",
        f"srun --kill-on-bad-exit=1 --open-mode=append --output={logs} {shlex.join(worker_command(folder))}",
    ]


def slurm_path(folder: RunFolder) -> Path:
    """Where the sbatch script of a run lies."""
    return folder.path / "slurm.sh"


def submit(folder: RunFolder) -> int:
    """Hand the run's script to sbatch, and keep the job's number. Returns 0, or 1 if sbatch refused it."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["sbatch", "--parsable", str(slurm_path(folder))], capture_output=True, text=True)
    if done.returncode:
        print_message((done.stdout + done.stderr).strip())
        return 1
    job = done.stdout.strip().partition(";")[0]  # a cluster's name may follow
    write_atomically(_job_path(folder), job)
    print_message(f"submitted as slurm job {job}; its output goes to {folder.logs}")
    return 0


def queued_job(folder: RunFolder) -> str | None:
    """The number of the run's slurm job while that waits or runs; None if slurm knows of none, or is not here."""
    if not _job_path(folder).exists():
        return None
    job = _job_path(folder).read_text()
    return job if command_output("squeue", "--noheader", "--jobs", job) else None


def _job_path(folder: RunFolder) -> Path:
    return folder.path / "slurm_job.txt"
