"""Units: data that a loss needs together stay together, in one micro-batch on one rank."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from budgetrl.core.records import Datum
from budgetrl.training.step import MicroBatch, optimizer_step, plan_units
from test_training_policy_gradient import Table

PAIRS = [(Datum((1,), (5,) * n), Datum((1,), (6,) * (7 - n))) for n in (1, 2, 3, 6)]


class Difference:
    """How much likelier the second side of each pair is than the first: a loss that needs both."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[Datum, ...]]] = []

    def weights(self, data: Sequence[Datum]) -> list[float]:
        return [0.0 if len(datum.response_ids) in (1, 6) else 1.0 for datum in data]

    def loss(self, engine: Any, part: MicroBatch[Datum]) -> tuple[Tensor, int]:
        self.seen.append(list(part.units))
        logprobs, _ = engine(part.batch)
        loss = (logprobs * part.weights).sum() * 0.0
        for first, second in zip(*[iter(logprobs.split(part.lengths))] * 2, strict=True):
            loss = loss + second.sum() - first.sum()
        return loss, part.batch_size

    def metrics(self, stats: Sequence[int]) -> dict[str, float]:
        return {"noted": float(len(stats)), "batch_size": float(stats[0])}


@pytest.mark.parametrize(("tokens_per_device", "parts"), [(100, 1), (12, 2), (1, 2)])
def test_pairs_stay_together_and_those_that_weigh_nothing_are_left_out(tokens_per_device: int, parts: int) -> None:
    table, objective = Table(), Difference()
    metrics = optimizer_step(table, objective, PAIRS, 1e-3, tokens_per_device)  # pyright: ignore[reportArgumentType]
    assert len(objective.seen) == parts == metrics["noted"]
    learned = [pair for part in objective.seen for pair in part]
    assert sorted(learned, key=PAIRS.index) == PAIRS[1:3] and metrics["batch_size"] == 4
    assert table.logprobs.grad is not None
    assert table.logprobs.grad[5:7].tolist() == [-(2 + 3), 5 + 4]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_micro_batch_of_pairs_has_no_more_padded_tokens_than_allowed(ranks: int) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        engine: Any = SimpleNamespace(world=SimpleNamespace(size=ranks, rank=rank))
        for part in plan_units(PAIRS, 28, engine):
            rows = [datum for i in part for datum in PAIRS[i]]
            assert len(rows) * max((datum.size for datum in rows), default=0) <= 28
            seen += part
    assert sorted(seen) == [0, 1, 2, 3]
