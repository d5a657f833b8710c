"""What to start for a run on this machine, or through DeepSpeed's launcher: commands and environments."""

import os
import socket
import sys

from budgetrl.launch.supervisor import Child
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import count_gpus
from budgetrl.settings.launch import DeepspeedLaunch, DirectLaunch

CPU_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Keeps glibc from giving large temporaries back to the system after each operation: up to twice as fast."""


def worker_command(folder: RunFolder) -> list[str]:
    """What a rank runs."""
    return [sys.executable, "-m", "budgetrl.worker", str(folder.path.absolute())]


def local_ranks(settings: DirectLaunch, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    """The ranks as children of this process, with `extra` in their environment."""
    ranks = settings.ranks_per_machine()
    shared = {**rank_environment(settings), **extra, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = []
    for rank in range(ranks):
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        children.append(Child(f"rank {rank}", worker_command(folder), own, folder.log(rank), shown=rank == 0))
    return children


def deepspeed_launcher(settings: DeepspeedLaunch, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    """DeepSpeed's launcher, which starts the ranks, as the only child."""
    environment = {**rank_environment(settings), **extra}
    command = deepspeed_command(settings, folder)
    return [Child("deepspeed", command, environment, folder.log(0), shown=True, is_launcher=True)]


def deepspeed_command(settings: DeepspeedLaunch, folder: RunFolder) -> list[str]:
    """The command line of DeepSpeed's launcher."""
    level = "warning" if settings.hostfile else "error"  # without one it would warn that there is none
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--no_local_rank", "--log_level", level]
    command += ["--master_port", str(_free_port())]
    if settings.hostfile:
        command += ["--hostfile", settings.hostfile]
    if settings.ranks or not settings.hostfile:
        command += _deepspeed_devices(settings)
    return [*command, "--module", "budgetrl.worker", str(folder.path.absolute())]


def _deepspeed_devices(settings: DeepspeedLaunch) -> list[str]:
    """Name the visible GPUs where some are hidden: --num_gpus alone would count from the first of all."""
    visible = [i for i in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if i]
    if visible and not settings.hostfile:
        return ["--include", f"localhost:{','.join(visible[: settings.ranks_per_machine()])}"]
    return ["--num_gpus", str(settings.ranks_per_machine())]


def rank_environment(settings: DirectLaunch) -> dict[str, str]:
    """Settings for ranks on this machine; what the user's environment sets already stays."""
    defaults = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(settings.threads_per_rank())}
    if count_gpus() == 0:
        defaults |= CPU_MALLOC | {"DS_ACCELERATOR": "cpu"}  # DeepSpeed would look for others and warn
    environment = {key: value for key, value in defaults.items() if key not in os.environ}
    return environment | ({"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
