"""The examples in the docstrings of the pure modules; importing the rest of the room imports DeepSpeed."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("module", ["advantages", "batching", "losses", "optim"])
def test_docstring_examples(module: str) -> None:
    result = doctest.testmod(import_module(f"budgetrl.training.{module}"))
    assert result.attempted
    assert not result.failed
