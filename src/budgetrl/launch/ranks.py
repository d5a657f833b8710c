"""Commands and environments of ranks on this machine, and of DeepSpeed's launcher."""

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
"""Settings of glibc for CPU training (ours): by default it returns the memory of large temporary tensors to the system
after each operation. Keeping it is up to twice as fast."""


def worker_command(folder: RunFolder) -> list[str]:
    """Return the command line of a rank."""
    return [sys.executable, "-m", "budgetrl.worker", str(folder.path.absolute())]


def local_ranks(settings: DirectLaunch, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    """Return the ranks as child processes, with the variables `extra` added to their environments."""
    ranks = settings.ranks_per_machine()
    # What torch.distributed reads to form a process group.
    shared = {**rank_environment(settings), **extra, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = []
    for rank in range(ranks):
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        children.append(Child(f"rank {rank}", worker_command(folder), own, folder.log(rank), shown=rank == 0))
    return children


def deepspeed_launcher(settings: DeepspeedLaunch, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    """Return DeepSpeed's launcher, which starts the ranks, as the only child process."""
    environment = {**rank_environment(settings), **extra}
    command = deepspeed_command(settings, folder)
    return [Child("deepspeed", command, environment, folder.log(0), shown=True, is_launcher=True)]


def deepspeed_command(settings: DeepspeedLaunch, folder: RunFolder) -> list[str]:
    """Return the command line of DeepSpeed's launcher."""
    # Without a hostfile, level "warning" would print a warning about the missing hostfile.
    level = "warning" if settings.hostfile else "error"
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--no_local_rank", "--log_level", level]
    command += ["--master_port", str(_free_port())]
    if settings.hostfile:
        command += ["--hostfile", settings.hostfile]
    if settings.ranks or not settings.hostfile:
        command += _deepspeed_devices(settings)
    return [*command, "--module", "budgetrl.worker", str(folder.path.absolute())]


def _deepspeed_devices(settings: DeepspeedLaunch) -> list[str]:
    """Return the options for how many GPUs, or which ones, to use."""
    # With CUDA_VISIBLE_DEVICES=3,5 the option --num_gpus would use GPU 0: DeepSpeed then ignores the variable.
    visible = list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    if visible and not settings.hostfile:
        return ["--include", f"localhost:{','.join(visible[: settings.ranks_per_machine()])}"]
    return ["--num_gpus", str(settings.ranks_per_machine())]


def rank_environment(settings: DirectLaunch) -> dict[str, str]:
    """Return the variables to set for ranks on this machine. Variables that the user has set are left alone."""
    defaults = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(settings.threads_per_rank())}
    if count_gpus() == 0:
        # DS_ACCELERATOR: otherwise DeepSpeed searches for accelerators and warns that there is none.
        defaults |= CPU_MALLOC | {"DS_ACCELERATOR": "cpu"}
    environment = {key: value for key, value in defaults.items() if key not in os.environ}
    if settings.threads:  # an explicit launch.threads overrides the user's environment
        environment["OMP_NUM_THREADS"] = str(settings.threads)
    return environment


def _free_port() -> int:
    # Binding to port 0 lets the system choose a free port.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
