"""`pretrain`: train the base model of a generated task from random weights, on solutions that the task generates."""

from collections.abc import Sequence

from budgetrl.core.records import Datum
from budgetrl.data.mini.examples import Solutions
from budgetrl.data.mini.generated import GeneratedSettings
from budgetrl.data.mini.model import make_model, make_tokenizer
from budgetrl.formats.registry import PLAIN
from budgetrl.policy.loading import Policy, make_codec
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.stages.pretrain import Pretrain
from budgetrl.stages import evaluate
from budgetrl.training.supervised import train_supervised
from budgetrl.training.train import Schedule


def run(stage: Pretrain, config: Config, ctx: Context) -> dict[str, float]:
    """Train a new model, then evaluate its accuracy and length on held-out problems; return those metrics."""
    dataset = config.dataset
    assert isinstance(dataset, GeneratedSettings)  # Pretrain.errors() rejects other data sets
    tokenizer = make_tokenizer(stage.budget_style)
    model = make_model(len(tokenizer), config.seed)
    model.to(ctx.world.device)  # pyright: ignore[reportArgumentType]: transformers' decorated signature
    policy = Policy(model, make_codec(tokenizer, config.model))
    plain = config.model.response_format(PLAIN)
    solutions = Solutions(dataset.task, tokenizer, config.seed, stage.tokens_per_step, stage.hinted_share)
    schedule = Schedule(stage.steps, stage.optimizer, stage.tokens_per_device, stage.save_every)

    def data_at(step: int) -> Sequence[Datum]:
        return examples(stage, solutions, step)

    base = train_supervised(policy, data_at, plain, schedule, config, ctx)
    return evaluate.run(stage.final_evaluation(), config.with_checkpoint(base), ctx)


def examples(stage: Pretrain, solutions: Solutions, step: int) -> Sequence[Datum]:
    """Return the data of a step. Early in training, words that decide a solution's length have a larger loss weight."""
    if step < stage.decision_weight_until * stage.steps:
        return solutions.weighted_batch(step, stage.decision_weight)
    return solutions.batch(step)
