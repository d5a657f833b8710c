"""Runs that differ in nothing the reader asked about are one group: a row of a table, a point of a curve."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key
from budgetrl.metrics.results import Results
from budgetrl.metrics.statistics import t_interval
from budgetrl.report.reading import Run
from budgetrl.runs.identity import identity

FOLDER = "folder"
"""Beside the keys of a configuration: the run folder's name, less `-s<seed>` at its end (see `_folder`)."""
_SEED = re.compile(r"-s\d+$")


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same values of some keys."""

    values: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def label(self) -> str:
        """Its values, as a command line would give them; a folder's name by itself."""
        values: list[str] = []
        for key, value in self.values.items():
            values.append(text(value) if key == FOLDER else f"{key}={text(value)}")
        return " ".join(values) or "all runs"

    def on(self, dataset: str) -> Results:
        """The numbers of one data set, over the runs."""
        measured = [run.final(dataset) for run in self.runs]
        return pool([results for results in measured if results.get("accuracy")])


def pool(several: Sequence[Results]) -> Results:
    """Means over runs with the standard error of the mean; a single run keeps its own errors and intervals.

    A number that not every run has is left out: its mean would be one of other runs than its neighbors'. Where the
    runs have an interval, theirs being over problems, the mean gets one over runs, by Student's t.

    >>> pool([Results.from_values({"length": 10.0}), Results.from_values({"length": 14.0})]).get("length")
    Estimate(value=12.0, error=2.0, interval=None)
    """
    if len(several) < 2:
        # Of one run there is no spread over runs; its own errors are over its problems.
        return several[0] if several else Results()
    pooled: dict[Key, Estimate] = {}
    for key in several[0].estimates:
        estimates: list[Estimate] = []
        for results in several:
            estimate = results.get(key)
            if estimate is not None:
                estimates.append(estimate)
        if len(estimates) == len(several):
            pooled[key] = _mean(estimates)
    return Results(pooled)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several runs' estimates, with the standard error that their spread gives it."""
    values = [estimate.value for estimate in estimates]
    mean = fmean(values)
    error = stdev(values) / math.sqrt(len(values))
    interval = None
    if all(estimate.interval for estimate in estimates):
        interval = t_interval(mean, error, len(values))
    return Estimate(mean, error, interval)


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[RunGroup]:
    """Groups by the values of `by`, in their order, folders in that of `runs`.

    Without `by`, by what tells the runs apart but for the seed.
    A key may be a group of the configuration, such as `reward`, which stands for its name.
    Raises RequestError for a key that no run has.
    """
    keys = list(by) or distinguishing_keys([flat_config(run) for run in runs])
    for key in keys:
        if all(_value(run, key) is None for run in runs):
            raise RequestError(f"stage.by: no run's configuration has a key {key}")
    folders = list(dict.fromkeys(map(_folder, runs)))

    def order(run: Run) -> list[tuple[bool, float, str]]:
        return [_order(_value(run, key), key, folders) for key in keys]

    members: dict[tuple[str, ...], list[Run]] = {}
    for run in sorted(runs, key=order):
        values = tuple(text(_value(run, key)) for key in keys)
        members.setdefault(values, []).append(run)
    groups = []
    for group in members.values():
        groups.append(RunGroup({key: _value(group[0], key) for key in keys}, group))
    return groups


def distinguishing_keys(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fewest keys that tell configurations apart, seeds aside: names first, then the shortest.

    >>> one, two = {"reward.name": "a", "reward.p": 1, "seed": 0}, {"reward.name": "b", "reward.q": 1, "seed": 1}
    >>> distinguishing_keys([one, two]), distinguishing_keys([one, one | {"reward.p": 2}])
    (['reward.name'], ['reward.p'])
    """
    kept: list[str] = []
    told_apart = 1
    keys = set().union(*configurations) - {"seed"}
    # A key is kept if it splits what those before it leave together.
    for key in sorted(keys, key=lambda key: (not key.endswith("name"), key.count("."), key)):
        distinct: set[tuple[str, ...]] = set()
        for configuration in configurations:
            distinct.add(tuple(text(configuration.get(name)) for name in [*kept, key]))
        if len(distinct) > told_apart:
            kept.append(key)
            told_apart = len(distinct)
    return kept


def flat_config(run: Run) -> dict[str, Any]:
    """The configuration by dotted keys, less what decides only where and how fast it ran, and less empty groups.

    What a part of a pipeline takes from the parts before it is a path inside the pipeline's folder, which says nothing
    that the rest does not.
    """
    flat = {key: value for key, value in identity(run.config).items() if value != {}}
    if not run.is_part:
        return flat
    # The folder as the run knew it, since a report may be written from elsewhere.
    folder = Path(run.config.get("run", {}).get("dir") or run.path)
    return {key: value for key, value in flat.items() if not str(value).startswith(f"{folder.parent}/")}


def text(value: Any) -> str:
    """A value of a configuration as a table shows it."""
    return "-" if value is None else str(value)


def _value(run: Run, key: str) -> Any:
    """What a run has for a key of its configuration, for the name of a group in it, or for `FOLDER`."""
    flat = flat_config(run)
    for name in (key, f"{key}.name"):
        if name in flat:
            return flat[name]
    return _folder(run) if key == FOLDER else None


def _folder(run: Run) -> str:
    """The folder's name without the seed; before that of a part of another run stands that run's name."""
    if not run.is_part:
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
