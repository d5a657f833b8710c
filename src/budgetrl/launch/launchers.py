"""The launchers: how each starts, or submits, a run whose config is frozen in its folder."""

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
    """Brings one run to its end, or hands it to a queue."""

    def __init__(self, settings: S, folder: RunFolder) -> None:
        self.settings = settings
        self.folder = folder

    @abstractmethod
    def launch(self) -> int:
        """Start the run. Returns its exit code.

        Raises SystemExit with that code if this process was told to stop meanwhile.
        """

    def require(self) -> None:
        """Raises RequestError if this machine lacks what the launcher needs."""

    def scripts(self) -> dict[Path, str]:
        """Files that the launcher needs in the run folder, besides `launch.sh`."""
        return {}


class _ParentLauncher(Launcher[H]):
    """Starts processes from here, and watches them until all have ended."""

    @abstractmethod
    def children(self, environment: dict[str, str]) -> list[Child]:
        """The processes to start, with `environment` added to their own."""

    def launch(self) -> int:
        with lifeline.open_pipe() as line:
            supervisor = Supervisor(self.children({lifeline.LIFELINE: str(line)}), self.settings.grace_seconds)
            code = supervisor.run()
        if supervisor.stop_requested:  # a sweep must not go on with its next run
            raise SystemExit(code)
        return code


class LocalLauncher(_ParentLauncher[LocalLaunch]):
    """Each rank is a process of ours."""

    def children(self, environment: dict[str, str]) -> list[Child]:
        return local_ranks(self.settings, self.folder, environment)


class DeepspeedLauncher(_ParentLauncher[DeepspeedLaunch]):
    """DeepSpeed's own launcher starts the ranks."""

    def children(self, environment: dict[str, str]) -> list[Child]:
        return deepspeed_launcher(self.settings, self.folder, environment)


class SlurmLauncher(Launcher[SlurmLaunch]):
    """Submits an sbatch script."""

    def launch(self) -> int:
        return submit(self.folder)

    def require(self) -> None:
        if shutil.which("sbatch") is None:
            hint = "mode=dry shows the script that would be submitted"
            raise RequestError(Message("launch", "slurm needs sbatch, which is not on this machine", hint))

    def scripts(self) -> dict[Path, str]:
        return {slurm_path(self.folder): slurm_script(self.settings, self.folder)}


LAUNCHERS: dict[type[LaunchSettings], type[Launcher]] = {
    LocalLaunch: LocalLauncher,
    DeepspeedLaunch: DeepspeedLauncher,
    SlurmLaunch: SlurmLauncher,
}


def make_launcher(settings: LaunchSettings, folder: RunFolder) -> Launcher[LaunchSettings]:
    """The launcher that the `launch` group asks for."""
    return LAUNCHERS[type(settings)](settings, folder)
