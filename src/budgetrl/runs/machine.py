"""What this machine is, and what a run was made with."""

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
    """Visible GPUs, counted without torch and without taking memory on any.

    NVIDIA's, by its driver's tool; CUDA_VISIBLE_DEVICES says which of them are visible. Others are not counted: say
    launch.ranks there.
    """
    listed = command_output("nvidia-smi", "--list-gpus")
    here = sum(line.startswith("GPU ") for line in (listed or "").splitlines())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return here
    # As CUDA reads it: what stands behind a name that is not there is not visible either.
    names = [name.strip() for name in chosen.split(",")]
    return min(here, next((n for n, name in enumerate(names) if name in ("", "-1")), len(names)))


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_memory() -> int | None:
    """Bytes of the smallest GPU of this machine, without taking any; None where NVIDIA's tool is not here."""
    listed = command_output("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    sizes = [int(line) for line in (listed or "").splitlines() if line.strip().isdigit()]  # MiB
    return min(sizes) * 2**20 if sizes else None


def host_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def record_start(path: Path, argv: Sequence[str], seed: int) -> None:
    """Write env.json, or where a run was started before, add this start below `starts`: nothing that is there goes."""
    now = describe_environment(argv, seed)
    if not path.exists():
        write_json(path, now)
        return
    first = json.loads(path.read_text())
    write_json(path, {**first, "starts": [*first.get("starts", []), now]})


def describe_environment(argv: Sequence[str], seed: int) -> dict[str, Any]:
    """One start, as env.json holds it: versions, git state of the code, hardware, command line and seed."""
    return {
        "command": list(argv),
        "directory": str(Path.cwd()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": f"{getpass.getuser()}@{socket.gethostname()}",
        "seed": seed,
        "python": sys.version.split()[0],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "git": _git_state(Path(__file__).parent),
        "hardware": _hardware(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, and whether tracked files differ from it; None where the code does not lie in a repository."""
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
    """What a command prints, or None if it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
