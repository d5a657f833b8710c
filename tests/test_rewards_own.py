"""Errors in a user's own reward are reported in one line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Parts, Reward

GROUP = [Outcome(well_formed=True, correct=correct, length=5) for correct in (True, False)]


@dataclass(frozen=True)
class Given(Reward):
    """Returns the parts that it is constructed with."""

    name: str = "mine.Given"
    given: Parts = field(default_factory=dict)

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        return self.given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "returned no parts"),
        ([1.0, 2.0], "returned a list; return a dictionary of lists"),
        (None, "returned a NoneType; return a dictionary of lists"),
        ({"a": 1.0}, "returned a float in 'a'; return a list with a number for each outcome"),
        ({"a": "12"}, "returned a str in 'a'; return a list"),
        ({"a": [1.0, None]}, "returned None in 'a' for Outcome(well_formed=True, correct=False"),
        ({"a": [1.0, 2.0], "b": [1.0]}, "returned 1 numbers in 'b' for a group of 2"),
        ({"a": [1.0, 2.0, 3.0]}, "returned 3 numbers in 'a' for a group of 2"),
        ({"a": [1.0, math.nan]}, "returned nan in 'a' for Outcome(well_formed=True, correct=False"),
        ({"a": [-math.inf, 0.0]}, "returned -inf in 'a'"),
    ],
)
def test_parts_that_are_not_a_number_for_each_outcome_are_refused(given: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Given(given=given)(GROUP, 0.0)
    assert str(caught.value).startswith("reward.name: parts() of mine.Given " + message)


def test_parts_that_are_add_up() -> None:
    assert Given(given={"a": [1.0, 2.0], "b": [0.5, -2.0]})(GROUP, 0.0) == [1.5, 0.0]
