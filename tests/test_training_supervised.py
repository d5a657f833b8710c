"""Training on given responses, with a table of log-probabilities in place of a model."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Datum
from budgetrl.objectives.base import Objective
from budgetrl.objectives.supervised import Supervised
from budgetrl.training.step import optimizer_step, single_units
from budgetrl.training.supervised import SupervisedLoss
from test_training_policy_gradient import Table

DATA = [Datum((1,), (5, 5)), Datum((1, 2), (6, 6, 6), (1.0, 0.0, 0.5)), Datum((1,), (7,))]
"""Of 2, 3 and 1 response tokens."""


@dataclass(frozen=True)
class Focal(Objective):
    """-(1 - p)^2 log p."""

    name: str = "mine.Focal"

    def token_losses(self, logprobs: Tensor, weights: Tensor) -> Tensor:
        return -(weights * (1 - logprobs.exp()) ** 2 * logprobs)


@dataclass(frozen=True)
class Mean(Objective):
    """Wrong: one number for all tokens."""

    name: str = "mine.Mean"

    def token_losses(self, logprobs: Tensor, weights: Tensor) -> Tensor:
        return -(weights * logprobs).sum()


def step(objective: Objective, tokens_per_device: int) -> tuple[float, list[float]]:
    """The loss, and its gradient at the log-probabilities of tokens 5, 6 and 7."""
    table = Table()
    units, lr = single_units(DATA), 1e-3
    metrics = optimizer_step(table, SupervisedLoss(objective), units, lr, tokens_per_device)  # pyright: ignore[reportArgumentType]
    assert metrics.keys() == {"loss", "grad_norm", "lr"}
    assert table.logprobs.grad is not None
    return metrics["loss"], table.logprobs.grad[5:8].tolist()


@pytest.mark.parametrize("tokens_per_device", [4, 5, 100])
def test_each_response_token_weighs_what_its_datum_says_however_they_are_cut(tokens_per_device: int) -> None:
    loss, gradient = step(Supervised(), tokens_per_device)
    assert gradient == pytest.approx([-2 / 6, -1.5 / 6, -1 / 6])
    assert loss == pytest.approx(4.5 / 6)


@pytest.mark.parametrize("tokens_per_device", [4, 100])
def test_another_objective_has_the_gradient_of_plain_torch(tokens_per_device: int) -> None:
    """Written out over the whole batch; all tokens have a log-probability of -1 in the table."""
    logprobs = torch.full((6,), -1.0, requires_grad=True)
    own = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5, 1.0])
    plain = (own * (1 - logprobs.exp()).square() * -logprobs).sum() / 6
    plain.backward()
    assert logprobs.grad is not None
    of_tokens = [part.sum().item() for part in logprobs.grad.split([2, 3, 1])]
    loss, gradient = step(Focal(), tokens_per_device)
    assert loss == pytest.approx(plain.item())
    assert gradient == pytest.approx(of_tokens)
    assert gradient != pytest.approx(step(Supervised(), tokens_per_device)[1])


def test_an_objective_that_gives_no_loss_for_each_token_is_refused_by_name() -> None:
    with pytest.raises(
        RequestError, match=r"objective\.name: mine\.Mean\.token_losses\(\) returned shape \(\) for 6 tokens"
    ):
        step(Mean(), 100)
