"""Counts that may be null: what is refused, and how it is said."""

from dataclasses import dataclass

import pytest

from budgetrl.core.checks import require_count


@dataclass(frozen=True)
class Limits:
    problems: int | None = None


@pytest.mark.parametrize("value", [None, 1, 7])
def test_null_and_counts_are_taken(value: int | None) -> None:
    require_count(Limits(value), "problems")


@pytest.mark.parametrize("value", [0, -5])
def test_what_is_no_count_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="^problems: "):
        require_count(Limits(value), "problems")
