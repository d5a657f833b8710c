"""One optimizer step: split the global batch into micro-batches and sum their shares of the loss.

A batch is a list of units. A unit is one datum, or several that the loss needs together, such as the two sides of a
comparison. The data of a unit always share a micro-batch and are adjacent in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from budgetrl.core.records import Datum
from budgetrl.training.batching import Batch, Indices, collate, plan_ranks
from budgetrl.training.engine import ZeroEngine

D = TypeVar("D", bound=Datum)

Unit = tuple[D, ...]


def single_units(data: Sequence[D]) -> list[Unit[D]]:
    """Return one unit per datum."""
    return [(datum,) for datum in data]


@dataclass(frozen=True)
class MicroBatch(Generic[D]):
    """The data of one forward and backward pass on one rank. May be empty."""

    units: Sequence[Unit[D]]
    batch: Batch
    """The sequences of all units, in order."""
    weights: Tensor
    """Weight of each response token in the loss of the global batch [N], float32, on the CPU."""
    batch_size: int
    """Number of data in the global batch, over all ranks, without the units that were dropped for their weight of 0."""
    progress: float
    """Training progress, from 0 at the first step to 1 at the last."""

    @property
    def data(self) -> list[D]:
        """The data of all units, in order."""
        return list(chain.from_iterable(self.units))

    @property
    def lengths(self) -> list[int]:
        """Number of learned response tokens of each datum."""
        return [datum.learned_tokens for datum in self.data]


class BatchObjective(Protocol[D]):
    """A loss over a global batch, written as a sum over micro-batches so that the split cannot change it."""

    def weights(self, data: Sequence[D]) -> list[float]:
        """Return, for each datum of the global batch, how much a response token of weight 1 counts in the loss.

        Normalize the loss here: this is the only method that sees the global batch. Units whose data all weigh 0
        are dropped and cost no forward pass.
        """
        ...

    def loss(self, engine: ZeroEngine, part: MicroBatch[D]) -> tuple[Tensor, Any]:
        """Return a micro-batch's share of the loss (a scalar), and any value that `metrics` needs.

        The shares of all micro-batches on all ranks sum to the loss. Must call the engine exactly once, even for an
        empty micro-batch: under ZeRO 3 a forward pass is a collective operation.
        """
        ...

    def metrics(self, stats: Sequence[Any]) -> dict[str, float]:
        """Return the metrics of the step, from the values that `loss` returned on all ranks."""
        ...


def optimizer_step(
    engine: ZeroEngine,
    objective: BatchObjective[D],
    units: Sequence[Unit[D]],
    lr: float,
    tokens_per_device: int,
    progress: float = 0.0,
) -> dict[str, float]:
    """Take one optimizer step and return its metrics. Every rank passes the whole global batch."""
    parts = _micro_batches(objective, units, tokens_per_device, progress, engine)
    stats: list[Any] = []

    def loss_share(part: MicroBatch[D]) -> Tensor:
        loss, part_stats = objective.loss(engine, part)
        stats.append(part_stats)
        return loss

    loss, norm = engine.step(parts, loss_share, lr)
    stats_by_rank = engine.world.gather(stats)
    all_stats = list(chain.from_iterable(stats_by_rank))
    return {"loss": loss, "grad_norm": norm, "lr": lr, **objective.metrics(all_stats)}


def plan_units(units: Sequence[Unit[D]], tokens_per_device: int, engine: ZeroEngine) -> list[Indices]:
    """Return this rank's micro-batches as lists of unit positions, at most `tokens_per_device` padded tokens each."""
    # The planner counts one row per item. Every unit is charged as many rows as the largest one, and as many
    # columns as its own longest sequence, so that the bound holds for units of any size.
    rows_per_unit = max(map(len, units), default=1)
    longest: list[int] = []
    for unit in units:
        longest.append(max(datum.size for datum in unit))
    world = engine.world
    plans = plan_ranks(longest, max(1, tokens_per_device // rows_per_unit), world.size)
    return plans[world.rank]


def collate_data(data: Sequence[Datum]) -> Batch:
    """Return the data as one right-padded batch on the CPU."""
    return collate((datum.prompt_ids, datum.response_ids, datum.forced) for datum in data)


def _micro_batches(
    objective: BatchObjective[D], units: Sequence[Unit[D]], tokens_per_device: int, progress: float, engine: ZeroEngine
) -> list[MicroBatch[D]]:
    """Return this rank's micro-batches."""
    # 1. Weigh the global batch, and drop the units that do not contribute.
    weights = iter(objective.weights(list(chain.from_iterable(units))))
    kept: list[Unit[D]] = []
    kept_weights: list[list[float]] = []  # [unit][datum]
    for unit in units:
        unit_weights = list(islice(weights, len(unit)))
        if any(unit_weights):
            kept.append(unit)
            kept_weights.append(unit_weights)
    batch_size = sum(map(len, kept))

    # 2. Build the micro-batches of this rank. Every rank computes the same plan, so nothing is communicated.
    parts = []
    for indices in plan_units(kept, tokens_per_device, engine):
        chosen: list[Unit[D]] = []
        token_weights: list[float] = []
        for i in indices:
            chosen.append(kept[i])
            for datum, weight in zip(kept[i], kept_weights[i], strict=True):
                token_weights += [weight * token_weight for token_weight in datum.token_weights]
        batch = collate_data(list(chain.from_iterable(chosen)))
        weights_N = torch.tensor(token_weights, dtype=torch.float32)
        parts.append(MicroBatch(chosen, batch, weights_N, batch_size, progress))
    return parts
