"""One optimizer step: the whole batch becomes micro-batches, and each adds its share of the loss.

A batch is a list of units. A unit is one datum, or several that the loss needs together, such as the two sides of a
comparison: the data of a unit are always in the same micro-batch, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from budgetrl.core.records import Datum
from budgetrl.training.batching import Batch, Indices, collate, plan_ranks
from budgetrl.training.engine import ZeroEngine

D = TypeVar("D", bound=Datum)

Unit = tuple[D, ...]


def single_units(data: Sequence[D]) -> list[Unit[D]]:
    """Each datum as a unit of its own."""
    return [(datum,) for datum in data]


@dataclass(frozen=True)
class MicroBatch(Generic[D]):
    """What one rank sends through the model at once. It may be empty."""

    units: Sequence[Unit[D]]
    batch: Batch
    """Their sequences, in order, unit by unit."""
    weights: Tensor
    """The weight of each response token in the loss of the whole batch [N], on the CPU."""
    batch_size: int
    """How many data the whole batch has, on all ranks, those left out not counted."""
    progress: float
    """How far training has come, from 0 at its first step to 1 at its last."""

    @property
    def data(self) -> list[D]:
        """The data of all units, in order."""
        return list(chain.from_iterable(self.units))

    @property
    def lengths(self) -> list[int]:
        """Response tokens of each datum."""
        return [len(datum.response_ids) for datum in self.data]


class BatchObjective(Protocol[D]):
    """A loss, as the train loop asks for it. The loop plans, weighs and adds up; nothing else depends on the batch."""

    def weights(self, data: Sequence[D]) -> list[float]:
        """For each datum of the whole batch: what a response token of weight 1 counts in the loss.

        This is where a loss is normalized. A unit in which all are 0 is left out, without a forward pass.
        """
        ...

    def loss(self, engine: ZeroEngine, part: MicroBatch[D]) -> tuple[Tensor, Any]:
        """A micro-batch's share of the loss, and what `metrics` needs to know of it.

        The shares of all micro-batches on all ranks sum to the loss. Every call runs the engine once.
        """
        ...

    def metrics(self, noted: Sequence[Any]) -> dict[str, float]:
        """What to log, from what `loss` gave with each micro-batch of all ranks."""
        ...


def optimizer_step(
    engine: ZeroEngine,
    objective: BatchObjective[D],
    units: Sequence[Unit[D]],
    lr: float,
    tokens_per_device: int,
    progress: float = 0.0,
) -> dict[str, float]:
    """One optimizer step on a whole batch, which every rank passes; returns its metrics."""
    parts = _micro_batches(objective, units, tokens_per_device, progress, engine)
    noted: list[Any] = []

    def loss_share(part: MicroBatch[D]) -> Tensor:
        loss, note = objective.loss(engine, part)
        noted.append(note)
        return loss

    loss, norm = engine.step(parts, loss_share, lr)
    on_all_ranks = list(chain.from_iterable(engine.world.gather(noted)))
    return {"loss": loss, "grad_norm": norm, "lr": lr, **objective.metrics(on_all_ranks)}


def plan_units(units: Sequence[Unit[D]], tokens_per_device: int, engine: ZeroEngine) -> list[Indices]:
    """Which units this rank puts into which micro-batch, as their positions; each takes the rows of the largest."""
    rows = max(map(len, units), default=1)
    longest: list[int] = []
    for unit in units:
        longest.append(max(datum.size for datum in unit))
    world = engine.world
    return plan_ranks(longest, max(1, tokens_per_device // rows), world.size)[world.rank]


def collate_data(data: Sequence[Datum]) -> Batch:
    """The data as one right-padded batch on the CPU."""
    return collate((datum.prompt_ids, datum.response_ids) for datum in data)


def _micro_batches(
    objective: BatchObjective[D], units: Sequence[Unit[D]], tokens_per_device: int, progress: float, engine: ZeroEngine
) -> list[MicroBatch[D]]:
    """The micro-batches of this rank."""
    weights = iter(objective.weights(list(chain.from_iterable(units))))
    learned: list[Unit[D]] = []
    weights_of: list[list[float]] = []  # of the data of each unit that is learned from
    for unit in units:
        of_unit = [next(weights) for _ in unit]
        if any(of_unit):
            learned.append(unit)
            weights_of.append(of_unit)
    batch_size = sum(map(len, learned))
    parts = []
    for indices in plan_units(learned, tokens_per_device, engine):
        chosen = [learned[i] for i in indices]
        token_weights: list[float] = []
        for i in indices:
            for datum, weight in zip(learned[i], weights_of[i], strict=True):
                token_weights += [weight * own for own in datum.token_weights]
        batch = collate_data(list(chain.from_iterable(chosen)))
        tensor = torch.tensor(token_weights, dtype=torch.float32)
        parts.append(MicroBatch(chosen, batch, tensor, batch_size, progress))
    return parts
