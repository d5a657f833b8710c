"""The `launch` group: how many processes a run has, and where."""

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from budgetrl.core.checks import nearest
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.runs.machine import count_cores, count_gpus

LAUNCHERS = ("local", "deepspeed", "slurm")


@dataclass(frozen=True)
class LaunchSettings:
    """The `launch` group: which processes a run has, and how they are started."""

    name: str = "local"
    """local (processes on this machine), deepspeed (its launcher) or slurm (an sbatch script)."""
    ranks: int | None = None
    """Processes on each machine; null for one per GPU, or one where there is none or several jobs run at once."""
    threads: int | None = None
    """CPU threads of each rank; null: OMP_NUM_THREADS, else the cores are shared out (below slurm: those of a task)."""
    at_once: int = 1
    """local and deepspeed: jobs of a multirun at the same time; each has ranks, GPUs and cores of its own."""
    grace_seconds: float = 30.0
    """How long ranks that were told to stop have to come to the end of a step and save: before they are killed, or for
    slurm before its time limit, at which they are told so long in advance."""
    hostfile: str | None = None
    """deepspeed: file with a line `host slots=n` for each machine; null for this machine alone."""
    nodes: int = 1
    """slurm: machines."""
    partition: str | None = None
    """slurm: partition; null for the cluster's default."""
    account: str | None = None
    """slurm: account to charge; null for the user's default."""
    time: str = "24:00:00"
    """slurm: time limit; the run is told to save and stop `grace_seconds` before it."""
    gpu_memory: float | None = None
    """slurm: GiB of each GPU, for the plan and for what is `auto`; null: not known from here."""
    lines: list[str] = field(default_factory=list)
    """slurm: further lines for the script, such as `module load cuda` or `#SBATCH --mem=0`."""

    def __post_init__(self) -> None:
        if self.name not in LAUNCHERS:
            raise SettingError("name", f"{self.name!r} is not a launcher; {nearest(self.name, LAUNCHERS)}")
        for key in ("ranks", "threads", "at_once", "nodes"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise SettingError(key, f"must be at least 1, got {value}")
        if self.grace_seconds < 0:
            raise SettingError("grace_seconds", f"must not be negative, got {self.grace_seconds}")
        for part in dataclasses.fields(self):
            launchers, value = _READ_BY.get(part.name, LAUNCHERS), getattr(self, part.name)
            default = [] if part.default is dataclasses.MISSING else part.default
            if self.name not in launchers and value != default:
                raise SettingError(part.name, f"is for launch={' or launch='.join(launchers)}, not {self.name}")
        if self.name == "slurm" and self.ranks is None:
            raise SettingError("ranks", "must be given for slurm, whose nodes' GPUs cannot be counted from here")

    def ranks_per_machine(self) -> int:
        """Processes on each machine."""
        return self.ranks or (1 if self.at_once > 1 else max(1, count_gpus()))

    def threads_per_rank(self) -> int:
        """CPU threads of each rank on this machine: as asked for, as in the environment, or a share of the cores."""
        set_outside = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        share = max(1, count_cores() // (self.ranks_per_machine() * self.at_once))
        return self.threads or (int(set_outside) if set_outside.isdigit() else share)

    def total_ranks(self) -> int:
        """Processes altogether."""
        if self.name == "slurm":
            return self.nodes * self.ranks_per_machine()
        if self.name == "deepspeed" and self.hostfile:
            slots = _slots(Path(self.hostfile))
            return len(slots) * self.ranks if self.ranks else sum(slots)
        return self.ranks_per_machine()


_READ_BY = {
    "at_once": ("local", "deepspeed"),
    "hostfile": ("deepspeed",),
    **dict.fromkeys(("nodes", "partition", "account", "time", "gpu_memory", "lines"), ("slurm",)),
}
"""The launchers that a key of LaunchSettings means something to; all of them where it is not named here."""


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
