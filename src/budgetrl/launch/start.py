"""Start or submit a run whose configuration is frozen, or resume one from its folder without Hydra."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.launch.launchers import make_launcher
from budgetrl.launch.slurm import queued_job
from budgetrl.launch.supervisor import print_message
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import record_start
from budgetrl.settings.config import Config, read_config
from budgetrl.settings.launch import LaunchSettings


def launch(config: Config, folder: RunFolder) -> int:
    """Execute the run of a folder, or submit it to Slurm, and return the exit code.

    Raises:
        SystemExit: This process received Ctrl-C or SIGTERM. It carries the run's exit code.
    """
    return make_launcher(config.launch, folder).launch()


def check_launcher(settings: LaunchSettings, folder: RunFolder) -> None:
    """Raise RequestError if this machine lacks what the launcher needs, or Slurm already has a job of this run."""
    if job := queued_job(folder):
        text = f"this run is already Slurm job {job}"
        raise RequestError(Message(str(folder.path), text, f"wait for it, or cancel it with `scancel {job}`"))
    make_launcher(settings, folder).require()


def launch_script(folder: RunFolder, argv: Sequence[str]) -> str:
    """Return the content of launch.sh, which starts or resumes this run."""
    # Without line breaks: an argument with one would otherwise end the comment and be executed.
    made_by = shlex.join(["budgetrl", *argv]).replace("\n", " ")
    return "\n".join(
        [
            "#!/bin/sh",
            "# Starts this run from its config.yaml. Resumes an unfinished run, and does nothing for a finished one.",
            f"# Created by: {made_by}",
            f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
            f"exec {shlex.join([sys.executable, '-m', 'budgetrl.launch', str(folder.path.absolute())])}",
            "",
        ]
    )


def relaunch(path: Path) -> int:
    """Start or resume the run of an existing run folder, and return the exit code.

    Raises:
        RequestError: The folder is not a run folder, or `check_launcher` finds a problem.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RequestError(Message(str(path), "not a run folder (it has no config.yaml)", "check the path"))
    config = read_config(folder.config)
    if folder.finished and not config.stage.always_runs:
        print_message(f"already done: {folder.result}")
        return 0
    check_launcher(config.launch, folder)
    with folder.lock():
        record_start(folder.environment, sys.argv, config.seed)
        folder.result.unlink(missing_ok=True)
        return launch(config, folder)
