"""Runs Hydra itself, which is needed for the jobs of a sweep, and for `--cfg` and Hydra's other flags."""

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from budgetrl.cli.composing import CONFIG_NAME, VERSION_BASE, config_dir
from budgetrl.cli.request import Invocation, build_config
from budgetrl.cli.sweep import Sweep
from budgetrl.core.checks import suggest_name
from budgetrl.core.messages import Message
from budgetrl.launch.supervisor import INTERRUPTED, STOPPED
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config, run_dir
from budgetrl.settings.strict import ConfigError


def run_with_hydra(request: Invocation, sweep: Sweep, start: Callable[[Config], int]) -> int:
    """Let Hydra execute the command line, and return the exit code.

    Each job of a sweep goes to `sweep`. The sweep continues after a failed job, but ends after one that was
    interrupted or stopped. A single run gets here only with one of Hydra's own flags, and goes to `start`.
    """
    # Hydra returns no value from the job function, so the function stores its results in these lists.
    codes: list[int] = []
    sweep_dirs: list[Path] = []

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_dir()), config_name=CONFIG_NAME)
    def job(composed: DictConfig) -> float | None:
        settings = HydraConfig.get()
        if settings.mode != RunMode.MULTIRUN:
            codes.append(start(build_config(composed, None)))
            return None
        sweep_dirs.append(Path(settings.sweep.dir))
        overrides = list(settings.overrides.task)
        try:
            config = build_config(composed, settings.sweep.dir)
        except ConfigError as error:  # possible in a large sweep, where not all combinations were checked before
            return sweep.add_invalid(overrides, error)
        code = sweep.add(overrides, config)
        if code in (INTERRUPTED, STOPPED):
            raise SystemExit(code)
        try:
            return metric_of(config, code)
        except ConfigError as error:
            # All jobs would fail in the same way. An ordinary exception would let Hydra run them first.
            sys.stderr.write(f"budgetrl: {error}\n")
            raise SystemExit(2) from None

    sys.argv[1:] = request.argv  # hydra.main reads the command line of the process
    job()
    return sweep.finish(sweep_dirs[0]) if sweep_dirs else max(codes, default=0)


def metric_of(config: Config, code: int) -> float | None:
    """Return the metric that a sweeper optimizes: `run.metric` of the result, or NaN if the job failed.

    Returns None if no metric is configured, or in a dry run. Raises ConfigError if the result has no such metric.
    """
    if config.run.metric is None or config.mode == "dry":
        return None
    if code:
        return float("nan")  # sweepers such as Optuna treat NaN as a failed trial
    key, result = config.run.metric, RunFolder(run_dir(config)).read_result()
    if key not in result:
        raise ConfigError(Message("run.metric", f"result.json has no {key}", suggest_name(key, result)))
    return result[key]
