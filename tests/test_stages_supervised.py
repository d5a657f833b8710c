"""Fine-tuning on given responses, with a table of log-probabilities in place of a model."""

import pytest
import torch

from budgetrl.training.distributed import World
from budgetrl.training.supervised import Example, supervised_step
from test_training_policy_step import Table

EXAMPLES = [Example((1,), (5, 5)), Example((1, 2), (6, 6, 6), (1.0, 0.0, 0.5)), Example((1,), (7,))]
"""Of 2, 3 and 1 response tokens."""


@pytest.mark.parametrize("tokens_per_device", [4, 5, 100])
def test_each_response_token_weighs_what_its_example_says_however_they_are_cut(tokens_per_device: int) -> None:
    table = Table()
    world = World(0, 1, torch.device("cpu"))
    loss, _ = supervised_step(table, EXAMPLES, tokens_per_device, 1e-3, world)  # pyright: ignore[reportArgumentType]
    assert table.logprobs.grad is not None
    assert table.logprobs.grad[5:8].tolist() == pytest.approx([-2 / 6, -1.5 / 6, -1 / 6])
    assert loss == pytest.approx(4.5 / 6)
