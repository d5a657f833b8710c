"""`draw_reward`: plot a reward."""

from budgetrl.report import figures
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.stages.draw_reward import DrawReward


def run(stage: DrawReward, config: Config, ctx: Context) -> dict[str, float]:
    """Plot the configured reward. Returns no metrics."""
    figure = figures.reward_shape(config.reward, stage.longest)
    ctx.print(f"figure: {figures.save(figure, ctx.folder.figures / 'reward.png')}")
    return {}
