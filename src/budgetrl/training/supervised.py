"""Supervised training on given responses, with the loss that the `objective` config group selects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Datum
from budgetrl.formats.base import ResponseFormat
from budgetrl.objectives.base import Objective
from budgetrl.policy.loading import Policy
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.learner import Learner
from budgetrl.training.step import MicroBatch, single_units
from budgetrl.training.train import Schedule, TrainingData, train


@dataclass(frozen=True)
class SupervisedLoss:
    """The token losses of an objective, averaged over all response tokens of the global batch."""

    objective: Objective

    def weights(self, data: Sequence[Datum]) -> list[float]:
        """Return 1 / (response tokens in the global batch) for every datum."""
        total = sum(datum.learned_tokens for datum in data)
        return [1 / total] * len(data)

    def loss(self, engine: ZeroEngine, part: MicroBatch[Datum]) -> tuple[Tensor, None]:
        """Return the sum of the objective's weighted token losses.

        Raises:
            RequestError: the objective, which may be the user's own, did not return one loss per token.
        """
        logprobs, _ = engine(part.batch)
        losses = self.objective.token_losses(logprobs, part.weights.to(logprobs.device))
        if losses.shape != logprobs.shape:
            text = (
                f"{self.objective.name}.token_losses() returned shape {tuple(losses.shape)} for {len(logprobs)} tokens"
            )
            raise RequestError(Message("objective.name", text, "return one loss per token"))
        return losses.sum(), None

    def metrics(self, stats: Sequence[None]) -> dict[str, float]:
        """Return no metrics besides the loss."""
        return {}


def train_supervised(
    policy: Policy,
    data_at: Callable[[int], Sequence[Datum]],
    fmt: ResponseFormat,
    schedule: Schedule,
    config: Config,
    ctx: Context,
) -> Path:
    """Train on `data_at(step)` and return `checkpoints/last`, which is prompted in the format `fmt`.

    `data_at` must return the same on every rank. It has to be a function of the step alone, so that a resumed run
    sees the same data.
    """

    def data(step: int) -> TrainingData[Datum]:
        batch = data_at(step)
        return TrainingData([single_units(batch)], tokens=sum(datum.size for datum in batch))

    learner = Learner.of(policy, fmt, schedule.optimizer, config, ctx)
    return train(SupervisedLoss(config.objective), data, learner, schedule, ctx)
