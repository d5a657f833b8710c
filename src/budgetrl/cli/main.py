"""The one entrypoint: compose, check, plan, launch. `python -m budgetrl` or `budgetrl`; `--help` says more."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from budgetrl.cli import compose
from budgetrl.cli.sweep import Launch, Sweep
from budgetrl.core.errors import RequestError
from budgetrl.launch.slurm import slurm_path, slurm_script
from budgetrl.launch.start import check_launcher, launch, launch_script
from budgetrl.planning.plan import Plan, make_plan, render_plan
from budgetrl.runs.folder import RunFolder, write_atomically, write_json
from budgetrl.runs.identity import identity
from budgetrl.runs.machine import note_start
from budgetrl.settings.config import Config, read_mapping, run_dir, to_mapping, to_yaml

MOST_DIFFERENCES_SHOWN = 5


def main() -> None:
    """Do what the command line asks for and leave with its exit code."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, "")  # so that `budgetrl`, like `python -m budgetrl`, finds the user's own rewards
    try:
        compose.check_request(sys.argv[1:])
        sys.argv[1:] = compose.overrides_first(sys.argv[1:])
        code = compose.run(start, Sweep(begin))
    except RequestError as error:
        _complain(error)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def start(config: Config) -> int:
    """Begin one run; what is wrong with the request is said, and exit code 2."""
    try:
        return begin(config)
    except RequestError as error:
        _complain(error)
        return 2


def begin(config: Config, launch_it: Launch | None = None) -> int:
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
        note_start(folder.environment, sys.argv, config.seed)
        if config.stage.always_runs:
            folder.result.unlink(missing_ok=True)  # should this time fail, the last one's is no result
        return (launch_it or launch)(config, folder)


def show(folder: RunFolder, config: Config, plan: Plan) -> None:
    """Print the plan, and what would be handed to Slurm."""
    print(render_plan(plan), flush=True)
    if config.launch.name == "slurm":
        print(f"\n{slurm_path(folder)}:\n{slurm_script(config.launch, folder)}", flush=True)


def freeze(folder: RunFolder, config: Config, plan: Plan) -> None:
    """Write what starts the run: config, plan and scripts. A dry run's config is that of the run it plans."""
    write_atomically(folder.config, to_yaml(replace(config, mode="run")))
    write_json(folder.plan, plan)
    write_atomically(folder.launch_script, launch_script(folder, sys.argv[1:]))
    folder.launch_script.chmod(0o755)
    if config.launch.name == "slurm":
        write_atomically(slurm_path(folder), slurm_script(config.launch, folder))


def refuse_if_changed(folder: RunFolder, config: Config) -> None:
    """Raises RequestError if the folder holds a run of another configuration, naming the keys that differ."""
    if not os.path.exists(folder.config):  # False, too, where looking is not allowed: the lock will say so
        return
    there, here = identity(read_mapping(folder.config)), identity(to_mapping(config))
    differing = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if differing:
        shown = [f"{key} ({there.get(key)} there, {here.get(key)} now)" for key in differing[:MOST_DIFFERENCES_SHOWN]]
        more = f" and {len(differing) - len(shown)} more" if len(differing) > len(shown) else ""
        raise RequestError(f"run.dir: {folder.path} holds another run, which differs in {', '.join(shown)}{more}")


def _complain(error: RequestError) -> None:
    for line in str(error).splitlines():
        print(f"budgetrl: {line}", file=sys.stderr)
