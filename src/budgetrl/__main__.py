"""The one entrypoint: compose, check, plan, launch. `python -m budgetrl` or `budgetrl`; `--help` says more."""

import sys
from pathlib import Path

from budgetrl import compose
from budgetrl.budget.errors import RequestError
from budgetrl.config import Config, identity, read_mapping, run_dir, to_mapping, to_yaml
from budgetrl.launch.slurm import slurm_path, slurm_script
from budgetrl.launch.start import check_launcher, launch, launch_script
from budgetrl.plan import Plan, make_plan, render_plan
from budgetrl.run.folder import RunFolder, write_atomically, write_json
from budgetrl.run.machine import describe_environment
from budgetrl.sweep import Launch, Sweep

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
    """Plan one run and, unless the mode is dry, bring it to its end by `launch_it`. Returns the exit code."""
    folder = RunFolder(run_dir(config))
    refuse_if_changed(folder, config)
    if config.mode == "run":
        if folder.finished and not config.stage.always_runs:
            print(f"already done: {folder.result}")
            return 0
        check_launcher(config.launch, folder)
    with folder.lock():
        prepare(folder, config)
        if config.mode == "dry":
            return 0
        if config.stage.always_runs:
            folder.result.unlink(missing_ok=True)  # should this time fail, the last one's is no result
        return (launch_it or launch)(config, folder)


def prepare(folder: RunFolder, config: Config) -> Plan:
    """Print the plan, and freeze it and the config in the run folder."""
    plan = make_plan(config)
    print(render_plan(plan), flush=True)
    write_atomically(folder.config, to_yaml(config))
    write_json(folder.plan, plan)
    write_json(folder.environment, describe_environment(sys.argv, config.seed))
    write_atomically(folder.launch_script, launch_script(folder, sys.argv[1:]))
    folder.launch_script.chmod(0o755)
    if config.launch.name == "slurm":
        script = slurm_script(config.launch, folder)
        write_atomically(slurm_path(folder), script)
        print(f"\n{slurm_path(folder)}:\n{script}")
    return plan


def refuse_if_changed(folder: RunFolder, config: Config) -> None:
    """Raises RequestError if the folder holds a run of another configuration, naming the keys that differ."""
    if not folder.config.exists():
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


if __name__ == "__main__":
    main()
