"""The environment that a stage runs in: its ranks, its folder, and where its output goes."""

from dataclasses import dataclass, replace

from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop, Stopped
from budgetrl.runs.tracking import Tracker
from budgetrl.runs.world import World


@dataclass(frozen=True)
class Context:
    """Everything a stage receives besides its configuration."""

    world: World
    folder: RunFolder
    tracker: Tracker
    progress: Progress
    stop: Stop

    def child(self, name: str) -> "Context":
        """Return the context of a run inside this one: a subfolder, and metrics under `name/`."""
        return replace(self, folder=self.folder.child(name), tracker=self.tracker.at(name))

    def print(self, text: str) -> None:
        """Print a line for the user, on the main rank only."""
        self.progress.print(text)

    def check_stop(self) -> None:
        """Raise Stopped on every rank if any rank received a stop request.

        A collective operation: every rank must call it at the same point.
        """
        # A signal may reach only one rank, or reach ranks at different steps. Without agreement,
        # one rank would leave while the others wait for it in a collective operation.
        if self.world.any(self.stop.requested):
            raise Stopped
