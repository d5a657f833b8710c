"""Groups of runs that agree in the configuration keys of interest: one table row or one point of a curve each."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key
from budgetrl.metrics.results import Results
from budgetrl.metrics.statistics import t_interval
from budgetrl.report.reading import Run
from budgetrl.runs.identity import identity

FOLDER = "folder"
"""A key besides those of the configuration: the name of the run folder without a trailing `-s<seed>`; see `_folder`."""
_SEED = re.compile(r"-s\d+$")


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same values of some configuration keys."""

    values: Mapping[str, Any]
    """The values the runs share, by key."""
    runs: Sequence[Run]

    @property
    def label(self) -> str:
        """The values as a command line has them, such as "reward.r_b=0.4 seed=1"; `FOLDER` without its key."""
        values: list[str] = []
        for key, value in self.values.items():
            values.append(value_text(value) if key == FOLDER else f"{key}={value_text(value)}")
        return " ".join(values) or "all runs"

    def on(self, dataset: str) -> Results:
        """Return the numbers of one data set, averaged over the runs that were evaluated on it."""
        measured: list[Results] = []
        for run in self.runs:
            results = run.final(dataset)
            if results.get("accuracy"):  # every evaluation has one
                measured.append(results)
        return pool(measured)


def pool(several: Sequence[Results]) -> Results:
    """Return means over runs with their standard errors; a single run keeps its own errors and intervals.

    A number that not every run has is left out: its mean would be over other runs than the rest of the row. If the
    runs have intervals, which are over problems, the mean gets one over runs, by Student's t.

    >>> pool([Results.from_values({"length": 10.0}), Results.from_values({"length": 14.0})]).get("length")
    Estimate(value=12.0, error=2.0, interval=None)
    """
    if len(several) < 2:
        # A single run has no spread over runs; its own errors are over its problems.
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
    """Return the mean of at least two runs' estimates; its standard error comes from their spread."""
    values = [estimate.value for estimate in estimates]
    mean = fmean(values)
    error = stdev(values) / math.sqrt(len(values))
    interval = None
    if all(estimate.interval for estimate in estimates):
        interval = t_interval(mean, error, len(values))
    return Estimate(mean, error, interval)


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[RunGroup]:
    """Group runs by the values of the keys `by`, sorted by these values; folders keep the order of `runs`.

    By default the keys are the fewest that distinguish the runs, the seed aside. A key may also name a group of the
    configuration, such as `reward`; its value is then the group's `name`.

    Raises:
        RequestError: No run has one of the keys.
    """
    keys = list(by) or distinguishing_keys(list(map(flat_config, runs)))
    for key in keys:
        if all(_value(run, key) is None for run in runs):
            text = f"no run has the key {key} in its configuration"
            raise RequestError(Message("stage.by", text, "name keys that config.yaml of the runs has"))
    folders = list(dict.fromkeys(map(_folder, runs)))

    def sort_key(run: Run) -> list[tuple[bool, float, str]]:
        return [_sort_key(_value(run, key), key, folders) for key in keys]

    # Values are compared as text, since some (lists) cannot be keys of a dictionary.
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in sorted(runs, key=sort_key):
        values = tuple(value_text(_value(run, key)) for key in keys)
        members.setdefault(values, []).append(run)
    groups = []
    for group in members.values():
        groups.append(RunGroup({key: _value(group[0], key) for key in keys}, group))
    return groups


def distinguishing_keys(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return few keys that distinguish the configurations as well as all keys do, seeds aside.

    Keys that end in "name" are preferred, then those with the fewest dots.

    >>> one, two = {"reward.name": "a", "reward.p": 1, "seed": 0}, {"reward.name": "b", "reward.q": 1, "seed": 1}
    >>> distinguishing_keys([one, two]), distinguishing_keys([one, one | {"reward.p": 2}])
    (['reward.name'], ['reward.p'])
    """
    kept: list[str] = []
    group_count = 1
    keys = set().union(*configurations) - {"seed"}
    # Greedy: keep a key if it splits a group that the keys kept so far leave together.
    for key in sorted(keys, key=lambda key: (not key.endswith("name"), key.count("."), key)):
        distinct: set[tuple[str, ...]] = set()
        for configuration in configurations:
            distinct.add(tuple(value_text(configuration.get(name)) for name in [*kept, key]))
        if len(distinct) > group_count:
            kept.append(key)
            group_count = len(distinct)
    return kept


def flat_config(run: Run) -> dict[str, Any]:
    """Return the configuration by dotted keys, without keys that only say where or how fast the run happened.

    Empty groups are left out too, and so are paths into a pipeline's folder in the configuration of one of its parts:
    they name outputs of earlier parts, which the rest of the configuration determines.
    """
    inside = None
    if run.is_part:
        # The folder as the run knew it: the report may be written from another working directory.
        folder = Path(run.config.get("run", {}).get("dir") or run.path)
        inside = f"{folder.parent}/"
    flat: dict[str, Any] = {}
    for key, value in identity(run.config).items():
        is_inside = inside is not None and str(value).startswith(inside)
        if value != {} and not is_inside:
            flat[key] = value
    return flat


def value_text(value: Any) -> str:
    """Return a configuration value as tables show it."""
    return "-" if value is None else str(value)


def _value(run: Run, key: str) -> Any:
    """Return a run's value of a configuration key, of a group (its `name`), or of `FOLDER`; None if it has none."""
    flat = flat_config(run)
    for name in (key, f"{key}.name"):
        if name in flat:
            return flat[name]
    return _folder(run) if key == FOLDER else None


def _folder(run: Run) -> str:
    """Return the folder's name without the seed; for a part of another run, after that run's name: "run/trained"."""
    if not run.is_part:
        return _SEED.sub("", run.path.name)
    return f"{_SEED.sub('', run.path.parent.name)}/{run.path.name}"


def _sort_key(value: Any, key: str, folders: Sequence[str]) -> tuple[bool, float, str]:
    """Return a sort key: numbers first, by size, then everything else as text. Folders keep their given order."""
    if key == FOLDER:
        return (False, folders.index(value), "")
    numeric = is_number(value)
    return (not numeric, value if numeric else 0.0, "" if numeric else value_text(value))


def is_number(value: Any) -> bool:
    """Return whether a configuration value can be plotted on an axis. Booleans cannot, although they are ints."""
    return isinstance(value, int | float) and not isinstance(value, bool)
