"""Training on given responses, with the loss that the `objective` group chooses: cold_start and pretrain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from budgetrl.core.errors import RequestError
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
    """An objective's losses of tokens as the loss of an optimizer step: the mean over its response tokens."""

    objective: Objective

    def weights(self, data: Sequence[Datum]) -> list[float]:
        total = sum(len(datum.response_ids) for datum in data)
        return [1 / total for _ in data]

    def loss(self, engine: ZeroEngine, part: MicroBatch[Datum]) -> tuple[Tensor, None]:
        logprobs, _ = engine(part.batch)
        losses = self.objective.token_losses(logprobs, part.weights.to(logprobs.device))
        if losses.shape != logprobs.shape:
            raise RequestError(
                f"objective.name: token_losses() of {self.objective.name} gave a tensor of shape {tuple(losses.shape)} "
                f"for {len(logprobs)} tokens; it has to give one loss for each token"
            )
        return losses.sum(), None

    def metrics(self, noted: Sequence[None]) -> dict[str, float]:
        return {}


def train_supervised(
    policy: Policy,
    data_at: Callable[[int], Sequence[Datum]],
    fmt: ResponseFormat,
    schedule: Schedule,
    config: Config,
    ctx: Context,
) -> Path:
    """Train on `data_at(step)`, the same on every rank; returns `checkpoints/last`, to be asked in the format."""

    def data(step: int) -> TrainingData[Datum]:
        batch = data_at(step)
        return TrainingData([single_units(batch)], tokens=sum(datum.size for datum in batch))

    learner = Learner.of(policy, fmt, schedule.optimizer, config, ctx)
    return train(SupervisedLoss(config.objective), data, learner, schedule, ctx)
