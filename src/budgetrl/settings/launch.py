"""The `launch` group: how many processes a run has and where and how they are started. One class per launcher."""

import math
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from budgetrl.core.checks import require, require_count, require_range, suggest_name
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.runs.machine import count_cores, count_gpus, gpu_memory, host_memory


@dataclass(frozen=True)
class LaunchSettings(ABC):
    """Settings that every launcher has."""

    name: str = ""
    """local (processes on this machine), deepspeed (DeepSpeed's launcher) or slurm (an sbatch script)."""
    ranks: int | None = None
    """Processes per machine."""
    threads: int | None = None
    """CPU threads per rank."""
    grace_seconds: float = 30.0
    """Seconds that ranks have to finish a step and save once they are asked to stop, before they are killed. With
    slurm, ranks are asked to stop this long before the time limit."""

    is_submitted: ClassVar[bool] = False
    """Whether the run is submitted to a queue and executed elsewhere. Its devices are then unknown on this machine, and
    there is no result when the command returns."""
    mixes_output: ClassVar[bool] = False
    """Whether the launcher merges the output of all ranks into one stream. All ranks except the first then write to
    their own log file instead."""

    def __post_init__(self) -> None:
        require_count(self, "ranks", "threads")
        require_range(self, 0, math.inf, "grace_seconds")

    @abstractmethod
    def ranks_per_machine(self) -> int:
        """Return the number of processes per machine."""

    @abstractmethod
    def total_ranks(self) -> int:
        """Return the number of processes on all machines together."""

    @abstractmethod
    def jobs_at_once(self) -> int:
        """Return the number of multirun jobs that run at the same time on this machine."""

    @abstractmethod
    def planned_threads(self) -> int | str:
        """Return the CPU threads per rank, as shown in the plan."""

    @abstractmethod
    def on_gpus(self) -> bool:
        """Whether ranks run on GPUs."""

    @abstractmethod
    def device_memory(self) -> int | None:
        """Return the bytes of memory available to one rank, or None if this machine cannot know it."""


@dataclass(frozen=True)
class DirectLaunch(LaunchSettings):
    """Settings of launchers that start processes directly from this machine, using its devices."""

    at_once: int = 1
    """Multirun jobs to run at the same time. Each job gets its own ranks, GPUs and CPU cores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "at_once")

    def ranks_per_machine(self) -> int:
        """Return `ranks` if set, else one per GPU, or 1 without GPUs or if several jobs run at once."""
        if self.ranks:
            return self.ranks
        # With several jobs at once the GPUs are divided among the jobs, so "one per GPU" would be too many.
        return 1 if self.at_once > 1 else max(1, count_gpus())

    def total_ranks(self) -> int:
        return self.ranks_per_machine()

    def jobs_at_once(self) -> int:
        return self.at_once

    def threads_per_rank(self) -> int:
        """Return the CPU threads per rank: `threads`, else OMP_NUM_THREADS, else an equal share of the cores."""
        if self.threads:
            return self.threads
        # OMP_NUM_THREADS may be a list with one number per nesting level, such as "4,2"; the first one counts.
        from_environment = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        if from_environment.isdigit():
            return int(from_environment)
        return max(1, count_cores() // (self.ranks_per_machine() * self.at_once))

    def planned_threads(self) -> int | str:
        return self.threads_per_rank()

    def on_gpus(self) -> bool:
        return count_gpus() > 0

    def device_memory(self) -> int | None:
        """Return the memory of the smallest GPU, or without GPUs an equal share of the host memory, in bytes."""
        if count_gpus():
            return gpu_memory()
        return host_memory() // (self.ranks_per_machine() * self.at_once)


@dataclass(frozen=True)
class LocalLaunch(DirectLaunch):
    """Processes on this machine, started by budgetrl itself."""

    name: str = "local"


@dataclass(frozen=True)
class DeepspeedLaunch(DirectLaunch):
    """DeepSpeed's launcher, for this machine or for several machines listed in a hostfile and reached by ssh."""

    name: str = "deepspeed"
    hostfile: str | None = None
    """File with one line `host slots=n` per machine; null: only this machine."""

    mixes_output: ClassVar[bool] = True

    def total_ranks(self) -> int:
        if not self.hostfile:
            return self.ranks_per_machine()
        slots = _read_slots(Path(self.hostfile))
        return len(slots) * self.ranks if self.ranks else sum(slots)


@dataclass(frozen=True)
class SlurmLaunch(LaunchSettings):
    """An sbatch script that is written to the run folder and submitted to Slurm."""

    name: str = "slurm"
    nodes: int = 1
    """Number of machines."""
    partition: str | None = None
    """Slurm partition; null: the cluster's default."""
    account: str | None = None
    """Account to charge; null: the user's default."""
    time: str = "24:00:00"
    """Time limit of the job. The run saves and stops `grace_seconds` before it."""
    gpu_memory: float | None = None
    """Memory of each GPU in GiB, used by the plan and by settings that are `auto`; null: unknown."""
    lines: list[str] = field(default_factory=list)
    """Extra lines for the script, such as `module load cuda` or `#SBATCH --mem=0`."""

    is_submitted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "nodes")
        require(self.ranks is not None, "ranks", "must be given for slurm: this machine cannot count the nodes' GPUs")

    def ranks_per_machine(self) -> int:
        return self.ranks or 1

    def total_ranks(self) -> int:
        return self.nodes * self.ranks_per_machine()

    def jobs_at_once(self) -> int:
        """Return 1: submitting a job takes no resources here, and Slurm decides which jobs run together."""
        return 1

    def planned_threads(self) -> int | str:
        return self.threads or "as many as slurm gives a task"

    def on_gpus(self) -> bool:
        return True  # the script requests one GPU per rank

    def device_memory(self) -> int | None:
        return None if self.gpu_memory is None else int(self.gpu_memory * 2**30)


LAUNCHERS: dict[str, type[LaunchSettings]] = {"local": LocalLaunch, "deepspeed": DeepspeedLaunch, "slurm": SlurmLaunch}


def launch_class(name: str) -> type[LaunchSettings]:
    """Return the settings class of a launcher.

    Raises:
        SettingError: about `name`, if there is no such launcher.
    """
    if name not in LAUNCHERS:
        raise SettingError("name", f"{name!r} is not a launcher", suggest_name(name, LAUNCHERS))
    return LAUNCHERS[name]


def _read_slots(hostfile: Path) -> list[int]:
    """Return the number of processes on each host of a hostfile with lines such as `worker-1 slots=8`.

    Raises:
        RequestError: if there is no such file, or a line has another form.
    """
    if not hostfile.is_file():
        raise RequestError(Message("launch.hostfile", f"there is no file {hostfile}"))
    slots = []
    for number, line in enumerate(hostfile.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if (found := re.fullmatch(r"\S+\s+slots=(\d+)\s*", line)) is None:
            text = f"{hostfile}, line {number}: must be like `worker-1 slots=8`"
            raise RequestError(Message("launch.hostfile", text))
        slots.append(int(found.group(1)))
    return slots
