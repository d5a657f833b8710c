"""What the stages do: one module each, whose `run` reads top to bottom. Their settings are in `settings.stages`."""

from collections.abc import Callable
from importlib import import_module

from budgetrl.runs.context import Context
from budgetrl.settings.config import Config


def execute(
    config: Config, ctx: Context, before_result: Callable[[dict[str, float]], None] | None = None
) -> dict[str, float]:
    """Bring a run to its end in the folder of its context: execute its stage, write result.json. Call on every rank.

    `before_result` is called with the numbers before they are written, which is what makes the run a finished one.
    """
    result = import_module(config.stage.executor).run(config.stage, config, ctx)
    ctx.tracker.log_result(result)
    if before_result:
        before_result(result)
    ctx.world.barrier()  # no rank works on it any more
    ctx.folder.write_result(result)
    ctx.folder.clear_states()
    ctx.world.barrier()
    return result
