"""Checks of configuration fields. Messages start with the field, so that a config can prefix its group."""

import difflib
import math
from collections.abc import Collection, Iterable


def require(holds: bool, field: str, complaint: str) -> None:
    """ValueError `field: complaint` unless `holds`."""
    if not holds:
        raise ValueError(f"{field}: {complaint}")


def require_range(record: object, low: float, high: float, *fields: str) -> None:
    """ValueError for the first of these fields of `record` that is not a finite number in [low, high]."""
    allowed = f"{low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
    for field in fields:
        value = getattr(record, field)
        require(low <= value <= high and math.isfinite(value), field, f"{value} is not a number {allowed}")


def require_option(record: object, options: Collection[str], field: str) -> None:
    """ValueError if this field of `record` is not one of `options`."""
    value = getattr(record, field)
    require(value in options, field, f"{value!r} is not one of {', '.join(options)}")


def require_count(record: object, *fields: str) -> None:
    """ValueError for the first of these fields of `record` that is neither None nor 1 or more."""
    for field in fields:
        value = getattr(record, field)
        require(value is None or value >= 1, field, f"{value} is neither null nor 1 or more")


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """A hint at the valid name that looks most like a wrong one.

    >>> nearest("grp", ["grpo", "label"])
    'did you mean grpo?'
    """
    names = sorted(valid)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none'}"
