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


def suggest_name(wrong: str, valid: Iterable[str]) -> str:
    """A hint at the valid name that looks most like a wrong one, or at all that there are where none does.

    As far as a dotted name is right it is kept: its first wrong part is compared with what there is in that place.
    A name deeper down that ends alike, if there is only one, is what was meant.

    >>> suggest_name("grp", ["grpo", "label"]), suggest_name("learning_rate", ["lr", "steps"])
    ('did you mean grpo?', 'there are lr, steps')
    >>> suggest_name("dataset.held_out", ["dataset.seed", "dataset.size", "mode"])
    'there are dataset.seed, dataset.size'
    >>> suggest_name("stage.inital.samples", ["stage.initial.samples", "stage.label.samples", "mode"])
    'did you mean stage.initial?'
    >>> suggest_name("algorithm.clip_low", ["algorithm.loss.clip_low", "algorithm.kl.coefficient"])
    'did you mean algorithm.loss.clip_low?'
    """
    names = sorted(valid)
    group, _, ending = wrong.rpartition(".")
    alike = [name for name in names if name.startswith(f"{group}.") and name.endswith(f".{ending}")]
    if group and len(alike) == 1:
        return f"did you mean {alike[0]}?"
    while group and not any(name.startswith(f"{group}.") for name in names):
        group = group.rpartition(".")[0]
    start = f"{group}." if group else ""
    there: dict[str, str] = {}  # what may stand in place of the first wrong part, by that part
    for name in names:
        if name.startswith(start):
            part = name.removeprefix(start).partition(".")[0]
            there[part] = start + part
    wrong_part = wrong.removeprefix(start).partition(".")[0]
    close = difflib.get_close_matches(wrong_part, there, n=1, cutoff=CLOSE)
    return f"did you mean {there[close[0]]}?" if close else f"there are {', '.join(there.values()) or 'none'}"
