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
    """A hint at the valid name that looks most like a wrong one, or at all of them where none does.

    >>> nearest("grp", ["grpo", "label"]), nearest("learning_rate", ["lr", "steps"])
    ('did you mean grpo?', 'there are lr, steps')
    """
    names = sorted(valid)
    close = _closest(wrong, names)
    return f"did you mean {close}?" if close else f"there are {', '.join(names) or 'none'}"


def nearest_key(wrong: str, valid: Iterable[str]) -> str:
    """A hint at the dotted key that was probably meant, or at all keys of its group.

    A long common group makes two keys look alike that have nothing to do with each other, so that the last parts are
    compared first: within the group, then anywhere.

    >>> keys = ["reward.r_b", "stage.optimizer.lr", "stage.optimizer.warmup", "stage.steps"]
    >>> nearest_key("stage.stepz", keys), nearest_key("stage.lr", keys)
    ('did you mean stage.steps?', 'did you mean stage.optimizer.lr?')
    >>> nearest_key("stag.steps", keys), nearest_key("stage.momentum", keys)
    ('did you mean stage.steps?', 'stage has optimizer, steps')
    """
    names = sorted(valid)
    group, _, last = wrong.rpartition(".")
    below = group + "." if group else ""
    siblings = sorted({name.removeprefix(below).partition(".")[0] for name in names if name.startswith(below)})
    if close := _closest(last, siblings):
        return f"did you mean {below}{close}?"
    elsewhere = [name for name in names if name.rpartition(".")[2] == last]
    if close := _closest(wrong, elsewhere):
        return f"did you mean {close}?"
    if siblings:
        return f"{group} has {', '.join(siblings)}" if group else f"there are {', '.join(siblings)}"
    return f"the groups are {', '.join(sorted({name.partition('.')[0] for name in names if '.' in name}))}"


def _closest(wrong: str, names: list[str]) -> str | None:
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=CLOSE)
    return close[0] if close else None
