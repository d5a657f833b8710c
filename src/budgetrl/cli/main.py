"""The entry point of `budgetrl` and `python -m budgetrl`: composes, checks, plans and launches runs."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from budgetrl.cli.composing import parse_arguments
from budgetrl.cli.help import help_text
from budgetrl.cli.hydra_app import run_with_hydra
from budgetrl.cli.request import read_request
from budgetrl.cli.sweep import Launch, Sweep
from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.launch.launchers import make_launcher
from budgetrl.launch.start import check_launcher, launch, launch_script
from budgetrl.launch.supervisor import INTERRUPTED
from budgetrl.planning.plan import Plan, make_plan, render_plan
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder, write_atomically, write_json
from budgetrl.runs.identity import identity
from budgetrl.runs.machine import record_start
from budgetrl.settings.config import Config, read_mapping, run_dir, to_mapping, to_yaml

MAX_DIFFERENCES_SHOWN = 5
ShowPlan = Callable[[RunFolder, Config, Plan], None]


def main() -> None:
    """Execute the command line and exit with its code.

    0: success. 1: a run failed. 2: the request is wrong. 130: interrupted by Ctrl-C. 143: stopped by SIGTERM.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        # `python -m budgetrl` already searches the working directory, where users keep their own rewards.
        # Make the `budgetrl` command do the same.
        sys.path.insert(0, "")
    lifeline.die_with_parent()  # if experiments/run.py started this process
    try:
        arguments = parse_arguments(sys.argv[1:])
        if arguments.help:
            print(help_text(arguments))
            sys.exit(0)
        request = read_request(sys.argv[1:])
        if request.config is not None:  # a single run, with no need for Hydra's own machinery
            code = start(request.config)
        else:
            sweep = Sweep(partial(begin, PlanPrinter()), request.swept)
            code = run_with_hydra(request, sweep, start)
    except RequestError as error:
        _print_error(error)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def start(config: Config) -> int:
    """Execute one run and return its exit code. Prints a RequestError and returns 2."""
    try:
        return begin(PlanPrinter(), config)
    except RequestError as error:
        _print_error(error)
        return 2


def begin(show_plan: ShowPlan, config: Config, launch_run: Launch | None = None) -> int:
    """Plan one run and, unless `mode=dry`, launch it. Returns the exit code.

    Args:
        launch_run: Starts the ranks and waits for them. Defaults to `budgetrl.launch.start.launch`.

    Raises:
        RequestError: If the run cannot be planned. The run folder is then unchanged.
    """
    folder = RunFolder(run_dir(config))
    check_same_run(folder, config)
    if config.mode == "run" and folder.finished and not config.stage.always_runs:
        print(f"already done: {folder.result}")
        return 0
    plan = make_plan(config)
    if config.mode == "dry":
        # The files of a run that was started, or submitted to Slurm, record how that was done: leave them alone.
        if not folder.started:
            with folder.lock():
                write_run_files(folder, config, plan)
        show_plan(folder, config, plan)
        return 0
    check_launcher(config.launch, folder)
    with folder.lock():
        show_plan(folder, config, plan)
        write_run_files(folder, config, plan)
        record_start(folder.environment, sys.argv, config.seed)
        if config.stage.always_runs:
            folder.result.unlink(missing_ok=True)  # if this attempt fails, the old result must not count
        # Looked up here rather than as a default value, so that tests can replace `launch`.
        return (launch_run or launch)(config, folder)


class PlanPrinter:
    """Prints the full plan of the first run, and for later runs of a sweep only warnings that are new."""

    def __init__(self) -> None:
        self._warnings: set[str] = set()
        self._is_first = True

    def __call__(self, folder: RunFolder, config: Config, plan: Plan) -> None:
        """Print a plan, with the scripts that the launcher submits, or its new warnings."""
        if self._is_first:
            print(render_plan(plan), flush=True)
            for path, script in make_launcher(config.launch, folder).scripts().items():
                print(f"\n{path}:\n{script}", flush=True)
        else:
            for warning in plan["warnings"]:
                if warning not in self._warnings:
                    print(f"warning: {warning}", flush=True)
        self._warnings.update(plan["warnings"])
        self._is_first = False


def write_run_files(folder: RunFolder, config: Config, plan: Plan) -> None:
    """Write the files that define the run: configuration, plan and launch scripts."""
    # A dry run writes mode=run, so that its scripts start the run that it plans.
    write_atomically(folder.config, to_yaml(replace(config, mode="run")))
    write_json(folder.plan, plan)
    write_atomically(folder.launch_script, launch_script(folder, sys.argv[1:]))
    folder.launch_script.chmod(0o755)
    for path, script in make_launcher(config.launch, folder).scripts().items():
        write_atomically(path, script)


def check_same_run(folder: RunFolder, config: Config) -> None:
    """Raise RequestError if the folder has a run with a different configuration. Names the keys that differ."""
    # os.path.exists returns False without read permission. The lock reports that later.
    if not os.path.exists(folder.config):
        return
    if not (folder.started or folder.finished or folder.metrics.exists()):
        return  # only a plan, from a dry run: this run may replace it
    old, new = identity(read_mapping(folder.config)), identity(to_mapping(config))
    differences: list[str] = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            differences.append(f"{key} ({old.get(key)} there, {new.get(key)} now)")
    if differences:
        shown = ", ".join(differences[:MAX_DIFFERENCES_SHOWN])
        left = len(differences) - MAX_DIFFERENCES_SHOWN
        more = f" and {left} more" if left > 0 else ""
        text = f"{folder.path} has a run with different settings: {shown}{more}"
        raise RequestError(
            Message("run.dir", text, "use the same settings, set another run.dir, or delete this folder")
        )


def _print_error(error: RequestError) -> None:
    for message in error.messages:
        print(f"budgetrl: {message}", file=sys.stderr)
