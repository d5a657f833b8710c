"""The stages, one module each: `run` executes the stage and returns its metrics. Settings are in `settings.stages`."""

from collections.abc import Callable
from importlib import import_module

from budgetrl.runs.context import Context
from budgetrl.settings.config import Config


def execute(
    config: Config, ctx: Context, before_result: Callable[[dict[str, float]], None] | None = None
) -> dict[str, float]:
    """Execute the stage of `config` in the run folder of `ctx`, and write result.json. Call on every rank.

    Args:
        config: the configuration of the run.
        ctx: the run's ranks, folder, and output.
        before_result: called with the result before result.json is written. A run with a result.json counts as
            finished and is not executed again, so other outputs must be written first.

    Returns:
        The content of result.json.
    """
    result = import_module(config.stage.executor).run(config.stage, config, ctx)
    ctx.tracker.log_result(result)
    if before_result:
        before_result(result)
    ctx.world.barrier()  # all ranks are done with the folder
    # In this order: if killed in between, the finished run keeps a state that it no longer needs, which is harmless.
    ctx.folder.write_result(result)
    ctx.folder.clear_states()
    ctx.world.barrier()  # no rank returns before result.json is there
    return result
