"""One class per launcher: it starts or submits a run whose configuration is frozen in its folder."""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.launch.ranks import deepspeed_launcher, local_ranks
from budgetrl.launch.slurm import slurm_path, slurm_script, submit
from budgetrl.launch.supervisor import Child, Supervisor
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.launch import DeepspeedLaunch, DirectLaunch, LaunchSettings, LocalLaunch, SlurmLaunch

S = TypeVar("S", bound=LaunchSettings)
H = TypeVar("H", bound=DirectLaunch)


class Launcher(ABC, Generic[S]):
    """Executes one run, or submits it to a queue."""

    def __init__(self, settings: S, folder: RunFolder) -> None:
        self.settings = settings
        self.folder = folder

    @abstractmethod
    def launch(self) -> int:
        """Start the run and return its exit code.

        Raises:
            SystemExit: This process received Ctrl-C or SIGTERM. It carries the run's exit code.
        """

    def require(self) -> None:
        """Raise RequestError if this machine lacks what the launcher needs."""

    def scripts(self) -> dict[Path, str]:
        """Return the files (path -> content) that the launcher needs in the run folder, besides `launch.sh`."""
        return {}


class _ParentLauncher(Launcher[H]):
    """Starts processes on this machine, and supervises them until all have exited."""

    @abstractmethod
    def children(self, environment: dict[str, str]) -> list[Child]:
        """Return the processes to start, with `environment` added to their environments."""

    def launch(self) -> int:
        with lifeline.open_pipe() as pipe:
            supervisor = Supervisor(self.children({lifeline.LIFELINE: str(pipe)}), self.settings.grace_seconds)
            code = supervisor.run()
        # Raise instead of returning, so that a sweep does not start its next run.
        if supervisor.stop_requested:
            raise SystemExit(code)
        return code


class LocalLauncher(_ParentLauncher[LocalLaunch]):
    """Starts each rank as a child process."""

    def children(self, environment: dict[str, str]) -> list[Child]:
        return local_ranks(self.settings, self.folder, environment)


class DeepspeedLauncher(_ParentLauncher[DeepspeedLaunch]):
    """Starts DeepSpeed's launcher, which starts the ranks."""

    def children(self, environment: dict[str, str]) -> list[Child]:
        return deepspeed_launcher(self.settings, self.folder, environment)


class SlurmLauncher(Launcher[SlurmLaunch]):
    """Submits an sbatch script to Slurm."""

    def launch(self) -> int:
        return submit(self.folder)

    def require(self) -> None:
        if shutil.which("sbatch") is None:
            hint = "run this on the login node; mode=dry shows the script without submitting it"
            raise RequestError(Message("launch", "slurm needs the command sbatch, which this machine lacks", hint))

    def scripts(self) -> dict[Path, str]:
        return {slurm_path(self.folder): slurm_script(self.settings, self.folder)}


LAUNCHERS: dict[type[LaunchSettings], type[Launcher]] = {
    LocalLaunch: LocalLauncher,
    DeepspeedLaunch: DeepspeedLauncher,
    SlurmLaunch: SlurmLauncher,
}


def make_launcher(settings: LaunchSettings, folder: RunFolder) -> Launcher[LaunchSettings]:
    """Return the launcher that the `launch` group selects."""
    return LAUNCHERS[type(settings)](settings, folder)
