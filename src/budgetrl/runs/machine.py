"""Describes this machine and the software a run uses. Never imports torch."""

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from budgetrl.runs.folder import write_json

PACKAGES = (
    "budgetrl", "torch", "transformers", "deepspeed", "hydra-core", "omegaconf", "datasets", "math-verify",
    "wandb", "numpy", "vllm",
)  # fmt: skip


@cache
def count_gpus() -> int:
    """Return the number of GPUs that CUDA_VISIBLE_DEVICES makes visible, without using any GPU memory.

    Uses nvidia-smi, so only NVIDIA GPUs are counted. For other GPUs the user sets launch.ranks.
    """
    listed = command_output("nvidia-smi", "--list-gpus") or ""
    installed = sum(line.startswith("GPU ") for line in listed.splitlines())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return installed
    # CUDA ignores every entry after the first invalid one: "0,-1,1" makes only GPU 0 visible.
    visible = 0
    for name in chosen.split(","):
        if name.strip() in ("", "-1"):
            break
        visible += 1
    return min(installed, visible)


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux; counts only the cores that Slurm or taskset allow
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_memory() -> int | None:
    """Return the bytes of memory of this machine's smallest GPU, or None without nvidia-smi."""
    listed = command_output("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits") or ""
    # One number per line, in MiB. Some GPUs report "[N/A]".
    sizes = [int(line) for line in listed.splitlines() if line.strip().isdigit()]
    return min(sizes) * 2**20 if sizes else None


def host_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def record_start(path: Path, argv: Sequence[str], seed: int) -> None:
    """Write env.json. If a run was started before, keep its record and append this start to its `starts`."""
    now = describe_environment(argv, seed)
    if not path.exists():
        write_json(path, now)
        return
    first = json.loads(path.read_text())
    write_json(path, {**first, "starts": [*first.get("starts", []), now]})


def describe_environment(argv: Sequence[str], seed: int) -> dict[str, Any]:
    """Return one start for env.json: command line, seed, versions, git state of the code, and hardware."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # optional packages, such as vllm
            continue
    return {
        "command": list(argv),
        "directory": str(Path.cwd()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": f"{getpass.getuser()}@{socket.gethostname()}",
        "seed": seed,
        "python": sys.version.split()[0],
        "versions": versions,
        "git": _git_state(Path(__file__).parent),
        "hardware": _hardware(),
    }


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit and whether tracked files differ from it, or None if the code is not in a repository."""
    commit = command_output("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = command_output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _hardware() -> dict[str, Any]:
    gpus = command_output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "platform": platform.platform(),
        "cores": count_cores(),
        "memory_gib": round(host_memory() / 2**30, 1),
        "gpus": gpus.splitlines() if gpus else [],
    }


def command_output(*command: str) -> str | None:
    """Return what a command prints, or None if it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
