"""A run of one process, for tests that call what a stage calls."""

from pathlib import Path

from budgetrl.runs.context import Context
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop
from budgetrl.runs.tracking import Tracker
from budgetrl.runs.world import SingleProcess


def context(folder: Path) -> Context:
    """The only rank of a run in this folder, which shows and tracks nothing."""
    return Context(SingleProcess(), RunFolder(folder), Tracker(), Progress(shown=False), Stop())
