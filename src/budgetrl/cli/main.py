"""The one entrypoint: compose, check, plan, launch. `python -m budgetrl` or `budgetrl`; `--help` says more."""

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
from budgetrl.launch.launchers import launcher
from budgetrl.launch.start import check_launcher, launch, launch_script
from budgetrl.planning.plan import Plan, make_plan, render_plan
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder, write_atomically, write_json
from budgetrl.runs.identity import identity
from budgetrl.runs.machine import record_start
from budgetrl.settings.config import Config, read_mapping, run_dir, to_mapping, to_yaml

MOST_DIFFERENCES_SHOWN = 5
Show = Callable[[RunFolder, Config, Plan], None]


def main() -> None:
    """Do what the command line asks for and leave with its exit code."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, "")  # so that `budgetrl`, like `python -m budgetrl`, finds the user's own rewards
    lifeline.die_with_parent()
    try:
        arguments = parse_arguments(sys.argv[1:])
        if arguments.help:
            print(help_text(arguments))
            sys.exit(0)
        request = read_request(sys.argv[1:])
        if request.config is not None:
            code = start(request.config)
        else:
            jobs = Sweep(partial(begin, PlanPrinter()), request.swept)
            code = run_with_hydra(request, jobs, start)
    except RequestError as error:
        _complain(error)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def start(config: Config) -> int:
    """Begin one run; what is wrong with the request is said, and exit code 2."""
    try:
        return begin(PlanPrinter(), config)
    except RequestError as error:
        _complain(error)
        return 2


def begin(show: Show, config: Config, launch_it: Launch | None = None) -> int:
    """Plan one run and, unless the mode is dry, bring it to its end by `launch_it`. Returns the exit code.

    Raises RequestError before the folder is touched if the run cannot be planned. A dry run leaves a folder alone in
    which a run was started, or given to Slurm: what lies there says how.
    """
    folder = RunFolder(run_dir(config))
    refuse_if_changed(folder, config)
    if config.mode == "run" and folder.finished and not config.stage.always_runs:
        print(f"already done: {folder.result}")
        return 0
    plan = make_plan(config)
    if config.mode == "dry":
        if not folder.started:
            with folder.lock():
                freeze(folder, config, plan)
        show(folder, config, plan)
        return 0
    check_launcher(config.launch, folder)
    with folder.lock():
        show(folder, config, plan)
        freeze(folder, config, plan)
        record_start(folder.environment, sys.argv, config.seed)
        if config.stage.always_runs:
            folder.result.unlink(missing_ok=True)  # should this time fail, the last one's is no result
        return (launch_it or launch)(config, folder)


class PlanPrinter:
    """Prints the plan of the first run in full; of those that follow in a sweep, the warnings that are new."""

    def __init__(self) -> None:
        self._warnings: set[str] = set()
        self._is_first = True

    def __call__(self, folder: RunFolder, config: Config, plan: Plan) -> None:
        """Print the plan, and the scripts that the launcher would submit."""
        if self._is_first:
            print(render_plan(plan), flush=True)
            for path, script in launcher(config.launch, folder).scripts().items():
                print(f"\n{path}:\n{script}", flush=True)
        else:
            for warning in plan["warnings"]:
                if warning not in self._warnings:
                    print(f"warning: {warning}", flush=True)
        self._warnings.update(plan["warnings"])
        self._is_first = False


def freeze(folder: RunFolder, config: Config, plan: Plan) -> None:
    """Write what starts the run: config, plan and scripts. A dry run's config is that of the run it plans."""
    write_atomically(folder.config, to_yaml(replace(config, mode="run")))
    write_json(folder.plan, plan)
    write_atomically(folder.launch_script, launch_script(folder, sys.argv[1:]))
    folder.launch_script.chmod(0o755)
    for path, script in launcher(config.launch, folder).scripts().items():
        write_atomically(path, script)


def refuse_if_changed(folder: RunFolder, config: Config) -> None:
    """Raises RequestError if the folder holds a run of another configuration, naming the keys that differ."""
    if not os.path.exists(folder.config):  # False, too, where looking is not allowed: the lock will say so
        return
    there, here = identity(read_mapping(folder.config)), identity(to_mapping(config))
    differences: list[str] = []
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            differences.append(f"{key} ({there.get(key)} there, {here.get(key)} now)")
    if differences:
        shown = ", ".join(differences[:MOST_DIFFERENCES_SHOWN])
        left = len(differences) - MOST_DIFFERENCES_SHOWN
        more = f" and {left} more" if left > 0 else ""
        raise RequestError(f"run.dir: {folder.path} holds another run, which differs in {shown}{more}")


def _complain(error: RequestError) -> None:
    for message in error.messages:
        print(f"budgetrl: {message}", file=sys.stderr)
