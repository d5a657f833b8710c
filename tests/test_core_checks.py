"""`require_count` accepts null and numbers from 1 on."""

from dataclasses import dataclass

import pytest

from budgetrl.core.checks import require_count


@dataclass(frozen=True)
class Limits:
    problems: int | None = None


@pytest.mark.parametrize("value", [None, 1, 7])
def test_null_and_positive_numbers_are_accepted(value: int | None) -> None:
    require_count(Limits(value), "problems")


@pytest.mark.parametrize("value", [0, -5])
def test_zero_and_negative_numbers_are_rejected(value: int) -> None:
    with pytest.raises(ValueError, match="^problems: "):
        require_count(Limits(value), "problems")
