"""Where a stage runs: its ranks, its folder, and whom it tells."""

from dataclasses import dataclass, replace

from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop, Stopped
from budgetrl.runs.tracking import Tracker
from budgetrl.runs.world import World


@dataclass(frozen=True)
class Context:
    """What a stage is given besides its configuration."""

    world: World
    folder: RunFolder
    tracker: Tracker
    progress: Progress
    stop: Stop

    def child(self, name: str) -> "Context":
        """The context of a run inside this one: a folder below, metrics under `name/`."""
        return replace(self, folder=self.folder.child(name), tracker=self.tracker.at(name))

    def print(self, text: str) -> None:
        """A line for the person who watches."""
        self.progress.print(text)

    def check_stop(self) -> None:
        """Raise Stopped on every rank if any rank was told to stop."""
        if self.world.any(self.stop.requested):
            raise Stopped
