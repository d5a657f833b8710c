"""Start the ranks of a frozen run, or submit it; start one again from its folder, without Hydra."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.launch.launchers import make_launcher
from budgetrl.launch.slurm import queued_job
from budgetrl.launch.supervisor import print_message
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.machine import record_start
from budgetrl.settings.config import Config, read_config
from budgetrl.settings.launch import LaunchSettings


def launch(config: Config, folder: RunFolder) -> int:
    """Run the frozen config of a folder to its end; with slurm: submit it. Returns the exit code.

    Raises SystemExit with that code if this process was told to stop meanwhile.
    """
    return make_launcher(config.launch, folder).launch()


def check_launcher(settings: LaunchSettings, folder: RunFolder) -> None:
    """Raises RequestError if what a launcher starts the run with is not there, or slurm has the run already."""
    if job := queued_job(folder):
        raise RequestError(f"{folder.path}: slurm has this run already, as job {job}; `scancel {job}` would end it")
    make_launcher(settings, folder).require()


def launch_script(folder: RunFolder, argv: Sequence[str]) -> str:
    """The content of launch.sh, which starts exactly this run again."""
    made_by = shlex.join(["budgetrl", *argv]).replace("\n", " ")  # a comment is one line
    return "\n".join(
        [
            "#!/bin/sh",
            "# Starts this run again from its config.yaml: resumed if it is unfinished, left alone if it is done.",
            f"# It was made by: {made_by}",
            f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
            f"exec {shlex.join([sys.executable, '-m', 'budgetrl.launch', str(folder.path.absolute())])}",
            "",
        ]
    )


def relaunch(path: Path) -> int:
    """Start the run of a folder that has been prepared before. Returns the exit code."""
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RequestError(f"{path}: is no run folder, since it has no config.yaml")
    config = read_config(folder.config)
    if folder.finished and not config.stage.always_runs:
        print_message(f"already done: {folder.result}")
        return 0
    check_launcher(config.launch, folder)
    with folder.lock():
        record_start(folder.environment, sys.argv, config.seed)
        folder.result.unlink(missing_ok=True)
        return launch(config, folder)
