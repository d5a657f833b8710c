"""The `launch` group: how many processes a run has, where, and how they are started. One class for each launcher."""

import math
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from budgetrl.core.checks import nearest, require, require_count, require_range
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.runs.machine import count_cores, count_gpus, gpu_memory, host_memory


@dataclass(frozen=True)
class LaunchSettings(ABC):
    """What every launcher has."""

    name: str = ""
    """local (processes on this machine), deepspeed (its launcher) or slurm (an sbatch script)."""
    ranks: int | None = None
    """Processes on each machine."""
    threads: int | None = None
    """CPU threads of each rank."""
    grace_seconds: float = 30.0
    """How long ranks that were told to stop have to come to the end of a step and save: before they are killed, or for
    slurm before its time limit, at which they are told so long in advance."""

    is_submitted: ClassVar[bool] = False
    """Whether a run is handed to a queue and done elsewhere: its devices cannot be seen from here, and there is no
    result when the command ends."""
    mixes_output: ClassVar[bool] = False
    """Whether the output of all ranks comes as one stream: all but the first then write to a log of their own."""

    def __post_init__(self) -> None:
        require_count(self, "ranks", "threads")
        require_range(self, 0, math.inf, "grace_seconds")

    @abstractmethod
    def ranks_per_machine(self) -> int:
        """Processes on each machine."""

    @abstractmethod
    def total_ranks(self) -> int:
        """Processes altogether."""

    @abstractmethod
    def jobs_at_once(self) -> int:
        """Jobs of a multirun that are run at the same time on this machine."""

    @abstractmethod
    def planned_threads(self) -> int | str:
        """CPU threads of each rank, as a plan shows them."""

    @abstractmethod
    def on_gpus(self) -> bool:
        """Whether ranks have GPUs rather than only CPUs."""

    @abstractmethod
    def device_memory(self) -> int | None:
        """Bytes that a rank may use; None where that cannot be seen from here."""


@dataclass(frozen=True)
class DirectLaunch(LaunchSettings):
    """What launchers have that start processes from this machine, on its devices."""

    at_once: int = 1
    """Jobs of a multirun at the same time; each has ranks, GPUs and cores of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "at_once")

    def ranks_per_machine(self) -> int:
        """As asked for, else one per GPU, or one where there is none or several jobs run at once."""
        if self.ranks:
            return self.ranks
        return 1 if self.at_once > 1 else max(1, count_gpus())

    def total_ranks(self) -> int:
        return self.ranks_per_machine()

    def jobs_at_once(self) -> int:
        return self.at_once

    def threads_per_rank(self) -> int:
        """CPU threads of each rank on this machine: as asked for, as in the environment, or a share of the cores."""
        if self.threads:
            return self.threads
        set_outside = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        if set_outside.isdigit():
            return int(set_outside)
        return max(1, count_cores() // (self.ranks_per_machine() * self.at_once))

    def planned_threads(self) -> int | str:
        return self.threads_per_rank()

    def on_gpus(self) -> bool:
        return count_gpus() > 0

    def device_memory(self) -> int | None:
        """The memory of the smallest GPU here, or a share of this machine's memory where there is no GPU."""
        if count_gpus():
            return gpu_memory()
        return host_memory() // (self.ranks_per_machine() * self.at_once)


@dataclass(frozen=True)
class LocalLaunch(DirectLaunch):
    """Processes on this machine, started by the parent itself."""

    name: str = "local"


@dataclass(frozen=True)
class DeepspeedLaunch(DirectLaunch):
    """DeepSpeed's launcher: this machine, or several by a hostfile and ssh."""

    name: str = "deepspeed"
    hostfile: str | None = None
    """A file with a line `host slots=n` for each machine; null for this machine alone."""

    mixes_output: ClassVar[bool] = True

    def total_ranks(self) -> int:
        if not self.hostfile:
            return self.ranks_per_machine()
        slots = _slots(Path(self.hostfile))
        return len(slots) * self.ranks if self.ranks else sum(slots)


@dataclass(frozen=True)
class SlurmLaunch(LaunchSettings):
    """An sbatch script, which is rendered into the run folder and submitted."""

    name: str = "slurm"
    nodes: int = 1
    """Machines."""
    partition: str | None = None
    """Null for the cluster's default."""
    account: str | None = None
    """The account to charge; null for the user's default."""
    time: str = "24:00:00"
    """The time limit; the run is told to save and stop `grace_seconds` before it."""
    gpu_memory: float | None = None
    """GiB of each GPU, for the plan and for what is `auto`; null: not known from here."""
    lines: list[str] = field(default_factory=list)
    """Further lines for the script, such as `module load cuda` or `#SBATCH --mem=0`."""

    is_submitted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "nodes")
        require(self.ranks is not None, "ranks", "must be given for slurm, whose GPUs cannot be counted from here")

    def ranks_per_machine(self) -> int:
        return self.ranks or 1

    def total_ranks(self) -> int:
        return self.nodes * self.ranks_per_machine()

    def jobs_at_once(self) -> int:
        """One: each is only submitted."""
        return 1

    def planned_threads(self) -> int | str:
        return self.threads or "as many as slurm gives a task"

    def on_gpus(self) -> bool:
        return True

    def device_memory(self) -> int | None:
        return None if self.gpu_memory is None else int(self.gpu_memory * 2**30)


LAUNCHERS: dict[str, type[LaunchSettings]] = {"local": LocalLaunch, "deepspeed": DeepspeedLaunch, "slurm": SlurmLaunch}


def launch_class(name: str) -> type[LaunchSettings]:
    """The settings of a launcher. SettingError for a name that there is none of."""
    if name not in LAUNCHERS:
        raise SettingError("name", f"{name!r} is not a launcher", nearest(name, LAUNCHERS))
    return LAUNCHERS[name]


def _slots(hostfile: Path) -> list[int]:
    """Processes on each host of a hostfile with lines such as `worker-1 slots=8`.

    Raises:
        RequestError: naming file and line, where a line has another form.
    """
    if not hostfile.is_file():
        raise RequestError(f"launch.hostfile: there is no file {hostfile}")
    slots = []
    for number, line in enumerate(hostfile.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if (found := re.fullmatch(r"\S+\s+slots=(\d+)\s*", line)) is None:
            raise RequestError(f"launch.hostfile: {hostfile}, line {number}: must be like `worker-1 slots=8`")
        slots.append(int(found.group(1)))
    return slots
