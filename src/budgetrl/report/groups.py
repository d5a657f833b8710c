"""Runs that differ in nothing the reader asked about are one group: a row of a table, a point of a curve."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.metrics.statistics import t_interval
from budgetrl.report.reading import Results, Run
from budgetrl.runs.identity import identity

FOLDER = "folder"
"""Beside the keys of a configuration: the run folder's name, less `-s<seed>` at its end (see `_folder`)."""
_SEED = re.compile(r"-s\d+$")
_ABOUT_ANOTHER = ("_se", "_low", "_high")
"""Ends of keys that hold the error, or an end of the interval, of another."""


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same values of some keys."""

    values: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def label(self) -> str:
        """Its values, as a command line would give them; a folder's name by itself."""
        values = (text(v) if key == FOLDER else f"{key}={text(v)}" for key, v in self.values.items())
        return " ".join(values) or "all runs"

    def on(self, dataset: str) -> Results:
        """The numbers of one data set, over the runs."""
        return pool([numbers for run in self.runs if (numbers := run.final(dataset)).get("accuracy")])


def pool(several: Sequence[Results]) -> Results:
    """Means over runs with the standard error of the mean; a single run keeps its own errors and intervals.

    A number that not every run has is left out: its mean would be one of other runs than its neighbors'. Where the
    runs have an interval, theirs being over problems, the mean gets one over runs, by Student's t.

    >>> pool([Results({"length": 10.0, "length_se": 1.0}), Results({"length": 14.0, "length_se": 1.0})]).numbers
    {'length': 12.0, 'length_se': 2.0}
    """
    if len(several) < 2:
        return several[0] if several else Results({})
    pooled: dict[str, float | None] = {}
    for key in several[0].numbers:
        values = [value for one in several if (value := one.numbers.get(key)) is not None]
        if key.endswith(_ABOUT_ANOTHER) or len(values) < len(several):
            continue
        mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
        pooled |= {key: mean, f"{key}_se": error}
        if all(one.interval(key) for one in several):
            low, high = t_interval(mean, error, len(values))
            pooled |= {f"{key}_low": low, f"{key}_high": high}
    return Results(pooled)


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[RunGroup]:
    """Groups by the values of `by`, in their order, folders in that of `runs`.

    Without `by`, by what tells the runs apart but for the seed.
    A key may be a group of the configuration, such as `reward`, which stands for its name.
    Raises RequestError for a key that no run has.
    """
    keys = list(by) or telling_keys([settings(run) for run in runs])
    if unknown := [key for key in keys if all(_value(run, key) is None for run in runs)]:
        raise RequestError(f"stage.by: no run's configuration has a key {unknown[0]}")
    members: dict[tuple[str, ...], list[Run]] = {}
    folders = list(dict.fromkeys(map(_folder, runs)))
    for run in sorted(runs, key=lambda run: [_order(_value(run, key), key, folders) for key in keys]):
        members.setdefault(tuple(text(_value(run, key)) for key in keys), []).append(run)
    return [RunGroup({key: _value(group[0], key) for key in keys}, group) for group in members.values()]


def telling_keys(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fewest keys that tell configurations apart, seeds aside: names first, then the shortest.

    >>> one, two = {"reward.name": "a", "reward.p": 1, "seed": 0}, {"reward.name": "b", "reward.q": 1, "seed": 1}
    >>> telling_keys([one, two]), telling_keys([one, one | {"reward.p": 2}])
    (['reward.name'], ['reward.p'])
    """
    kept: list[str] = []
    told = 1
    keys = {key for configuration in configurations for key in configuration} - {"seed"}
    for key in sorted(keys, key=lambda key: (not key.endswith("name"), key.count("."), key)):
        distinct = len({tuple(text(one.get(k)) for k in [*kept, key]) for one in configurations})
        if distinct > told:
            kept.append(key)
            told = distinct
    return kept


def settings(run: Run) -> dict[str, Any]:
    """The configuration by dotted keys, less what decides only where and how fast it ran, and less empty groups.

    The model that a pipeline trained is a path inside its folder, which says nothing that the rest does not.
    """
    flat = {key: value for key, value in identity(run.config).items() if value != {}}
    if run.in_pipeline and str(flat.get("model.path", "")).startswith(f"{run.path.parent}/"):
        del flat["model.path"]
    return flat


def text(value: Any) -> str:
    """A value of a configuration as a table shows it."""
    return "-" if value is None else str(value)


def _value(run: Run, key: str) -> Any:
    flat = settings(run)
    return flat.get(key, flat.get(f"{key}.name", _folder(run) if key == FOLDER else None))


def _folder(run: Run) -> str:
    """The name without the seed; of a pipeline's part, behind that of the pipeline."""
    if not run.in_pipeline:
        return _SEED.sub("", run.path.name)
    return f"{_SEED.sub('', run.path.parent.name)}/{run.path.name}"


def _order(value: Any, key: str, folders: Sequence[str]) -> tuple[bool, float, str]:
    """Numbers by size, before everything else by its text; folders as they were given."""
    if key == FOLDER:
        return (False, folders.index(value), "")
    number = is_number(value)
    return (not number, value if number else 0.0, "" if number else text(value))


def is_number(value: Any) -> bool:
    """Whether a value can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)
