"""What Hydra's own machinery is needed for: the jobs of a sweep, `--cfg` and its other flags."""

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
from budgetrl.core.checks import nearest
from budgetrl.core.messages import Message
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config, run_dir
from budgetrl.settings.strict import ConfigError


def run_with_hydra(request: Invocation, sweep: Sweep, start: Callable[[Config], int]) -> int:
    """Let Hydra read the process's command line, and give each job of a multirun to `sweep`. Returns the exit code.

    A failed job does not end a sweep; one that was interrupted or told to stop does. `start` is for a single run, which
    only comes here where Hydra was asked for something besides.
    """
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
        except ConfigError as error:  # of a combination, in a sweep too large to check them all before
            return sweep.refuse(overrides, error)
        code = sweep.take(overrides, config)
        if code in (130, 143):
            raise SystemExit(code)
        try:
            return metric_of(config, code)
        except ConfigError as error:  # Hydra would run all other jobs first, for nothing
            sys.stderr.write(f"budgetrl: {error}\n")
            raise SystemExit(2) from None

    sys.argv[1:] = request.argv
    job()
    return sweep.finish(sweep_dirs[0]) if sweep_dirs else max(codes, default=0)


def metric_of(config: Config, code: int) -> float | None:
    """The number a sweeper optimizes; NaN, which it takes for a failed trial, if the job failed."""
    if config.run.metric is None or config.mode == "dry":
        return None
    if code:
        return float("nan")
    key, result = config.run.metric, RunFolder(run_dir(config)).read_result()
    if key not in result:
        raise ConfigError(Message("run.metric", f"result.json has no {key}", nearest(key, result)))
    return result[key]
