"""Checks of configuration fields. Each raises SettingError with the field, so that a config can prefix its group."""

import difflib
import math
from collections.abc import Collection, Iterable

from budgetrl.core.errors import SettingError

CLOSE = 0.7
"""How alike a name must be to be proposed in place of a wrong one, from 0 to 1: `lerning_rate` for `learning_rate`."""


def require(holds: bool, field: str, complaint: str, hint: str = "") -> None:
    """SettingError about `field` unless `holds`."""
    if not holds:
        raise SettingError(field, complaint, hint)


def require_range(record: object, low: float, high: float, *fields: str) -> None:
    """SettingError for the first of these fields of `record` that is not a finite number in [low, high]."""
    allowed = f"{low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
    for field in fields:
        value = getattr(record, field)
        require(low <= value <= high and math.isfinite(value), field, f"{value} is not a number {allowed}")


def require_option(record: object, options: Collection[str], field: str) -> None:
    """SettingError if this field of `record` is not one of `options`."""
    value = getattr(record, field)
    require(value in options, field, f"{value!r} is not one of {', '.join(options)}")


def require_count(record: object, *fields: str) -> None:
    """SettingError for the first of these fields of `record` that is neither None nor 1 or more."""
    for field in fields:
        value = getattr(record, field)
        require(value is None or value >= 1, field, f"{value} is neither null nor 1 or more")


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """A hint at the valid name that looks most like a wrong one, or at all that there are where none does.

    A dotted name is compared with those of its own group, and of these only the last part, since they share the rest.

    >>> nearest("grp", ["grpo", "label"]), nearest("learning_rate", ["lr", "steps"])
    ('did you mean grpo?', 'there are lr, steps')
    >>> nearest("dataset.held_out", ["dataset.seed", "dataset.size", "mode"])
    'there are dataset.seed, dataset.size'
    """
    names = sorted(valid)
    group, _, last_part = wrong.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in names if name.rpartition(".")[0] == group}
    if siblings:
        close = [siblings[part] for part in difflib.get_close_matches(last_part, siblings, n=1, cutoff=CLOSE)]
        there = list(siblings.values())
    else:
        close = difflib.get_close_matches(wrong, names, n=1, cutoff=CLOSE)
        there = sorted({name.partition(".")[0] for name in names})
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(there) or 'none'}"
