"""What a command line asks for: one run, or the jobs of a sweep, all of them checked before anything is created."""

import itertools
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from budgetrl.cli.composing import compose, compose_option, options_of, parse_arguments, parse_override, search_path
from budgetrl.core.checks import nearest
from budgetrl.core.messages import Message
from budgetrl.planning.auto import settle
from budgetrl.settings.auto import Rule
from budgetrl.settings.config import Config, errors, load_config, run_dir
from budgetrl.settings.strict import ConfigError, to_plain

MOST_JOBS_CHECKED = 16
"""A sweep of more jobs is checked value by value rather than combination by combination: composing takes time."""


@dataclass(frozen=True)
class Invocation:
    """A command line that was found to be right."""

    argv: Sequence[str]
    """The command line in the order that Hydra can read."""
    config: Config | None
    """The one run that is asked for; None for a sweep, or where Hydra only has to show something."""
    swept: Sequence[str] = ()
    """The keys in which the jobs of a sweep differ."""


def read_request(argv: Sequence[str]) -> Invocation:
    """Compose and check every job that a command line asks for.

    Raises:
        ConfigError: for the first thing that is wrong in any of them.
    """
    args = parse_arguments(argv)
    ordered = overrides_first(argv)
    if args.hydra_help or args.info or args.shell_completion or args.experimental_rerun:
        return Invocation(ordered, None)
    with search_path(args):
        config, swept = _check_jobs(args)
    return Invocation(ordered, None if args.cfg else config, swept)


def overrides_first(argv: Sequence[str]) -> list[str]:
    """The same command line in the one order that Hydra can read: `a=1 -m b=2` fails there, `a=1 b=2 -m` does not.

    >>> overrides_first(["stage=grpo", "-m", "seed=1,2"])
    ['stage=grpo', 'seed=1,2', '-m']
    """
    overrides = parse_arguments(argv).overrides
    return [*overrides, *(word for word in argv if word not in overrides)]


def build_config(composed: DictConfig, sweep_dir: str | None) -> Config:
    """The checked configuration of one composed job, which lies below `sweep_dir` if it is one of a sweep."""
    mapping = to_plain(OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    if sweep_dir is not None:
        mapping["run"]["root"] = sweep_dir
        mapping["tracking"]["group"] = mapping["tracking"].get("group") or Path(sweep_dir).resolve().name
    if mapping.get("eval_datasets"):
        raise ConfigError("eval_datasets: follows from stage.datasets; name options or files there")
    mapping["eval_datasets"] = _eval_datasets(mapping)
    auto_keys: dict[str, Rule] = {}
    config = settle(load_config(mapping, auto_keys), auto_keys)
    if found := errors(config):
        raise ConfigError(*found)
    return config


def _check_jobs(args: Namespace) -> tuple[Config | None, list[str]]:
    """The one run, or None for a sweep; and the keys in which the jobs of the sweep differ."""
    plain: list[str] = []
    sweeps: dict[str, Override] = {}
    for text in args.overrides:
        override = parse_override(text)
        if override.is_sweep_override():
            sweeps[text] = override
        else:
            plain.append(text)
    composed = compose(args, plain)
    settings = composed.hydra
    if not (args.multirun or settings.mode == RunMode.MULTIRUN):
        for text, sweep in sweeps.items():
            key = sweep.key_or_group
            raise ConfigError(f"{key}: {text} is a sweep and needs -m; a list is written in brackets, {key}=[...]")
        return build_config(composed, None), []
    for key, values in (settings.sweeper.get("params") or {}).items():
        sweeps[f"{key}={values}"] = parse_override(f"{key}={values}")
    if sweeps:
        _check_combinations(args, plain, sweeps, settings.sweep.dir)
    else:
        build_config(composed, settings.sweep.dir)
    return None, [sweep.key_or_group for sweep in sweeps.values()]


def _check_combinations(args: Namespace, plain: list[str], sweeps: Mapping[str, Override], sweep_dir: str) -> None:
    """Check the jobs of a sweep, and that each has a folder of its own."""
    folders: dict[Path, str] = {}
    for swept in _combinations(sweeps):
        folder = run_dir(build_config(compose(args, [*plain, *swept]), sweep_dir))
        label = " ".join(swept)
        other = folders.setdefault(folder, label)
        if other != label:
            raise ConfigError(f"run.dir: the jobs {other!r} and {label!r} would share the folder {folder}")


def _combinations(sweeps: Mapping[str, Override]) -> list[tuple[str, ...]]:
    """The jobs of a sweep as override strings: all combinations, or if those are too many, each value once."""
    choices = [_values(text, sweep) for text, sweep in sweeps.items() if not sweep.is_interval_sweep()]
    jobs = list(itertools.islice(itertools.product(*choices), MOST_JOBS_CHECKED + 1))
    if len(jobs) <= MOST_JOBS_CHECKED:
        return jobs
    jobs = []
    for place in range(max(map(len, choices))):
        # A key with fewer values than another stays at its last one.
        jobs.append(tuple(values[min(place, len(values) - 1)] for values in choices))
    return jobs


def _values(text: str, sweep: Override) -> list[str]:
    key = text.split("=", 1)[0]
    return [f"{key}={value}" for value in sweep.sweep_string_iterator()]


def _eval_datasets(mapping: dict[str, Any]) -> dict[str, Any]:
    """The data sets that `stage.datasets` names: options of the dataset group, or JSONL files."""
    stage, own = mapping.get("stage"), mapping.get("dataset")
    names = stage.get("datasets") if isinstance(stage, dict) else None
    if isinstance(names, str):  # in the pipeline's parts, too, where the message would be about another key
        raise ConfigError(f"stage.datasets: must be a list, such as [{names}]")
    if not isinstance(names, list) or not isinstance(own, dict):
        return {}
    found: dict[str, Any] = {}
    for name in names:
        dataset = own if name == own.get("name") else _dataset(str(name), own)
        if dataset["name"] in found:
            raise ConfigError(f"stage.datasets: two of {names} have the same name; results are filed by name")
        found[dataset["name"]] = dataset
    return found


def _dataset(name: str, own: dict[str, Any]) -> dict[str, Any]:
    if name.endswith(".jsonl"):
        like = own if own.get("source") == "jsonl" else _dataset("jsonl", own)
        return {**like, "name": Path(name).stem, "path": None, "eval_path": name}
    options = options_of("dataset")
    if name not in options:
        text = f"no dataset option or .jsonl file is {name!r}"
        raise ConfigError(Message("stage.datasets", text, nearest(name, options)))
    return compose_option("dataset", name)
