"""Checks of configuration fields. Each raises SettingError about the field; the caller adds the config group."""

import difflib
import math
from collections.abc import Collection, Iterable

from budgetrl.core.errors import SettingError

SIMILARITY_CUTOFF = 0.7
"""Minimum `difflib` similarity (0 to 1) for suggesting a name: enough for `lerning_rate` -> `learning_rate`."""


def require(holds: bool, field: str, complaint: str, hint: str = "") -> None:
    """Raise SettingError about `field` unless `holds`."""
    if not holds:
        raise SettingError(field, complaint, hint)


def require_range(record: object, low: float, high: float, *fields: str) -> None:
    """Raise SettingError about the first of these fields of `record` that is not a finite number in [low, high]."""
    allowed = f"{low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
    for field in fields:
        value = getattr(record, field)
        # NaN fails the comparison; isfinite rejects infinity even if `high` is infinite.
        require(low <= value <= high and math.isfinite(value), field, f"{value} is not a number {allowed}")


def require_option(record: object, options: Collection[str], field: str) -> None:
    """Raise SettingError if this field of `record` is not one of `options`."""
    value = getattr(record, field)
    require(value in options, field, f"{value!r} is not one of {', '.join(options)}")


def require_count(record: object, *fields: str) -> None:
    """Raise SettingError about the first of these fields of `record` that is neither None nor 1 or more."""
    for field in fields:
        value = getattr(record, field)
        require(value is None or value >= 1, field, f"{value} is neither null nor 1 or more")


def suggest_name(wrong: str, valid: Iterable[str]) -> str:
    """Return a hint for an unknown name: the most similar valid name, or the list of valid names if none is similar.

    Dotted names are compared part by part: the first part that is wrong is compared with the valid parts in its place.
    But if exactly one valid name has the same group and the same last part, with levels in between, it is suggested.

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
    group, _, last_part = wrong.rpartition(".")
    # A skipped level: algorithm.clip_low -> algorithm.loss.clip_low.
    deeper = [name for name in names if name.startswith(f"{group}.") and name.endswith(f".{last_part}")]
    if group and len(deeper) == 1:
        return f"did you mean {deeper[0]}?"
    # Shorten the group until it is a valid one: stage.inital.samples has the valid group "stage".
    while group and not any(name.startswith(f"{group}.") for name in names):
        group = group.rpartition(".")[0]
    prefix = f"{group}." if group else ""
    # The valid next parts, with the full name up to there: {"initial": "stage.initial", "label": "stage.label"}.
    candidates: dict[str, str] = {}
    for name in names:
        if name.startswith(prefix):
            part = name.removeprefix(prefix).partition(".")[0]
            candidates[part] = prefix + part
    wrong_part = wrong.removeprefix(prefix).partition(".")[0]
    similar = difflib.get_close_matches(wrong_part, candidates, n=1, cutoff=SIMILARITY_CUTOFF)
    if similar:
        return f"did you mean {candidates[similar[0]]}?"
    return f"there are {', '.join(candidates.values()) or 'none'}"
