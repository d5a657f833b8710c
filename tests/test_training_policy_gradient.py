"""One optimizer step with a table of log-probabilities in place of a model: loss and gradient worked out by hand."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from budgetrl.settings.algorithm import LOSS_LEVELS, Algorithm, BudgetEntropySettings, LossSettings
from budgetrl.training.batching import Batch
from budgetrl.training.policy_gradient import PolicyDatum, PolicyGradient
from budgetrl.training.step import optimizer_step, single_units

T = TypeVar("T")

LONGEST = 10
EXPERIENCE = [
    PolicyDatum((1,), (5, 5), logprobs=(-1.0, -1.0), advantage=1.0, budget_field=range(0)),
    PolicyDatum((1,), (6, 6, 6, 6), logprobs=(-1.0,) * 4, advantage=-0.25, budget_field=range(0)),
    PolicyDatum((1,), (7,) * 6, logprobs=(-1.0,) * 6, advantage=2.0, budget_field=range(0), truncated=True),
]
"""Of 2, 4 and 6 tokens; completion n has no token but n + 5."""


class Table:
    """Stands for the engine: what it knows is one log-probability for each token id."""

    world = SimpleNamespace(size=1, rank=0, gather=lambda value: [value])

    def __init__(self) -> None:
        self.logprobs = torch.full((10,), -1.0, requires_grad=True)
        self.seen: set[int] = set()

    def __call__(self, batch: Batch, entropy_at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ids = batch.input_ids[batch.rows, batch.columns]
        self.seen |= set(ids.tolist())
        return self.logprobs[ids], torch.ones(0 if entropy_at is None else len(entropy_at))

    def step(self, micro_batches: Sequence[T], loss_share: Callable[[T], Tensor], lr: float) -> tuple[float, float]:
        losses = [loss_share(micro_batch) for micro_batch in micro_batches]
        for loss in losses:
            loss.backward()
        gradient = self.logprobs.grad
        assert gradient is not None
        return sum(loss.item() for loss in losses), gradient.norm().item()


def step(experience: Sequence[PolicyDatum], level: str, masks: bool) -> tuple[Table, float, list[float]]:
    """The engine, the loss, and its gradient at each completion's log-probabilities."""
    table = Table()
    loss = LossSettings(level=level, mask_truncated=masks)
    objective = PolicyGradient(Algorithm(loss=loss, budget_entropy=BudgetEntropySettings(start=0.0)), LONGEST)
    metrics = optimizer_step(table, objective, single_units(experience), 1e-3, 100)  # pyright: ignore[reportArgumentType]
    assert table.logprobs.grad is not None
    return table, metrics["loss"], table.logprobs.grad[5:8].tolist()


@pytest.mark.parametrize(
    ("level", "masks", "gradient"),
    [
        ("token", False, [-2 / 12, 1 / 12, -12 / 12]),
        ("token", True, [-2 / 6, 1 / 6, 0]),
        ("sequence", False, [-1 / 3, 0.25 / 3, -2 / 3]),
        ("sequence", True, [-1 / 3, 0.25 / 3, 0]),
        ("constant", False, [-2 / 30, 1 / 30, -12 / 30]),
        ("constant", True, [-2 / 30, 1 / 30, 0]),
    ],
)
def test_a_mask_takes_away_its_own_completions_and_no_others_weight(
    level: str, masks: bool, gradient: list[float]
) -> None:
    """At ratio 1 the gradient at a completion is -(weight of a token) * tokens * advantage, and the loss their sum."""
    table, loss, found = step(EXPERIENCE, level, masks)
    assert found == pytest.approx(gradient)
    assert loss == pytest.approx(sum(gradient))
    assert table.seen == ({5, 6} if masks else {5, 6, 7})


@pytest.mark.parametrize("level", LOSS_LEVELS)
def test_if_all_are_masked_nothing_is_learned(level: str) -> None:
    table, loss, gradient = step(EXPERIENCE[2:], level, masks=True)
    assert (loss, gradient, table.seen) == (0.0, [0.0] * 3, set())


def test_the_entropy_bonus_is_per_digit_so_that_writing_more_of_them_earns_nothing() -> None:
    """Each token has an entropy of 1 nat. A field is the digits and the token after them: of 1 and of 3 digits here."""
    short = PolicyDatum((1,), (5, 5), logprobs=(-1.0,) * 2, advantage=0.0, budget_field=range(2))
    long = PolicyDatum((1,), (6,) * 4, logprobs=(-1.0,) * 4, advantage=0.0, budget_field=range(4))
    objective = PolicyGradient(Algorithm(budget_entropy=BudgetEntropySettings(start=0.5)), LONGEST)
    metrics = optimizer_step(Table(), objective, single_units([short, long]), 1e-3, 100)  # pyright: ignore[reportArgumentType]
    assert metrics["loss"] == pytest.approx(-0.5 * (2 / 1 + 4 / 3) / 2)
    assert metrics["budget_entropy"] == pytest.approx((2 + 4) / 2)


def test_forced_tokens_carry_no_loss_and_no_ratio() -> None:
    """A datum with a forced token in its middle is learned from as if that token were a part of the text alone."""
    forced = PolicyDatum(
        (1,), (5, 6, 5), forced=frozenset({1}), logprobs=(-1.0,) * 2, advantage=2.0, budget_field=range(0)
    )
    table = Table()
    objective = PolicyGradient(Algorithm(), LONGEST)
    optimizer_step(table, objective, single_units([forced]), 1e-3, 100)  # pyright: ignore[reportArgumentType]
    assert table.seen == {5}
