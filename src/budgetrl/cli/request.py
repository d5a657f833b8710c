"""Reads the command line: one run, or the jobs of a sweep. Everything is checked before any file is created."""

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
from budgetrl.core.checks import suggest_name
from budgetrl.core.messages import Message
from budgetrl.planning.auto import resolve_auto
from budgetrl.settings.auto import Rule
from budgetrl.settings.config import Config, errors, load_config, run_dir
from budgetrl.settings.strict import ConfigError, to_plain

MAX_JOBS_CHECKED = 16
"""In larger sweeps each value is checked once instead of every combination, because composing takes time."""


@dataclass(frozen=True)
class Invocation:
    """A valid command line."""

    argv: Sequence[str]
    """The words of the command line, in an order that Hydra can parse."""
    config: Config | None
    """The configuration of a single run. None for a sweep, or if a flag only asks Hydra to print something."""
    swept: Sequence[str] = ()
    """The keys whose values differ between the jobs of a sweep."""


def read_request(argv: Sequence[str]) -> Invocation:
    """Compose and check all jobs of a command line.

    Raises:
        ConfigError: With the first error in any of the jobs.
    """
    args = parse_arguments(argv)
    ordered = overrides_first(argv)
    # These flags make Hydra print something or rerun an old job: leave everything to Hydra.
    if args.hydra_help or args.info or args.shell_completion or args.experimental_rerun:
        return Invocation(ordered, None)
    with search_path(args):
        config, swept = _check_jobs(args)
    # --cfg prints the configuration, which Hydra does. It is checked first, like that of a run.
    return Invocation(ordered, None if args.cfg else config, swept)


def overrides_first(argv: Sequence[str]) -> list[str]:
    """Return the words with all overrides first: Hydra rejects `a=1 -m b=2`, but accepts `a=1 b=2 -m`.

    >>> overrides_first(["stage=grpo", "-m", "seed=1,2"])
    ['stage=grpo', 'seed=1,2', '-m']
    """
    overrides = parse_arguments(argv).overrides
    flags = [word for word in argv if word not in overrides]
    return [*overrides, *flags]


def build_config(composed: DictConfig, sweep_dir: str | None) -> Config:
    """Return the checked configuration of one composed job.

    Args:
        sweep_dir: The folder of the sweep, which will contain the run folder. None for a single run.

    Raises:
        ConfigError: If a key, a value or a combination of them is wrong.
    """
    mapping = to_plain(OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    if sweep_dir is not None:
        mapping["run"]["root"] = sweep_dir
        mapping["tracking"]["group"] = mapping["tracking"].get("group") or Path(sweep_dir).resolve().name
    if mapping.get("eval_datasets"):
        text = "cannot be set directly"
        raise ConfigError(Message("eval_datasets", text, "list dataset options or JSONL files in stage.datasets"))
    mapping["eval_datasets"] = _eval_datasets(mapping)
    # Keys set to `auto` first get a placeholder. They are resolved once the rest of the configuration is known.
    auto_keys: dict[str, Rule] = {}
    config = resolve_auto(load_config(mapping, auto_keys), auto_keys)
    if found := errors(config):
        raise ConfigError(*found)
    return config


def _check_jobs(args: Namespace) -> tuple[Config | None, list[str]]:
    """Check all jobs. Return the configuration of a single run (None for a sweep), and the keys that are swept."""
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
            raise ConfigError(Message(key, f"{text} is a sweep", f"add -m, or write a list as {key}=[...]"))
        return build_config(composed, None), []
    # An option file can define a sweep too, in hydra.sweeper.params.
    for key, values in (settings.sweeper.get("params") or {}).items():
        sweeps[f"{key}={values}"] = parse_override(f"{key}={values}")
    if sweeps:
        _check_combinations(args, plain, sweeps, settings.sweep.dir)
    else:
        build_config(composed, settings.sweep.dir)
    return None, [sweep.key_or_group for sweep in sweeps.values()]


def _check_combinations(args: Namespace, plain: list[str], sweeps: Mapping[str, Override], sweep_dir: str) -> None:
    """Check the jobs of a sweep. Raises ConfigError if one is wrong or if two jobs would use the same folder."""
    folders: dict[Path, str] = {}
    for swept in _combinations(sweeps):
        folder = run_dir(build_config(compose(args, [*plain, *swept]), sweep_dir))
        label = " ".join(swept)
        other = folders.setdefault(folder, label)
        if other != label:
            text = f"the jobs {other!r} and {label!r} would share the folder {folder}"
            raise ConfigError(Message("run.dir", text, "sweep keys that change the results, and do not set run.dir"))


def _combinations(sweeps: Mapping[str, Override]) -> list[tuple[str, ...]]:
    """Return the jobs to check as tuples of overrides: all combinations, or a sample that has each value once.

    Two keys with the values 1,2,3 and a,b give (1,a) (1,b) (2,a) ..., or as a sample (1,a) (2,b) (3,b).
    """
    choices: list[list[str]] = []
    for text, sweep in sweeps.items():
        if not sweep.is_interval_sweep():  # an interval has no list of values: a sweeper draws from it
            choices.append(_values(text, sweep))
    jobs = list(itertools.islice(itertools.product(*choices), MAX_JOBS_CHECKED + 1))
    if len(jobs) <= MAX_JOBS_CHECKED:
        return jobs
    # Repeat the last value of keys with fewer values, so that all lists are equally long.
    longest = max(map(len, choices))
    padded = [values + values[-1:] * (longest - len(values)) for values in choices]
    return list(zip(*padded, strict=True))


def _values(text: str, sweep: Override) -> list[str]:
    """Return the overrides of a sweep over one key: `seed=1,2` gives seed=1 and seed=2."""
    key = text.split("=", 1)[0]
    return [f"{key}={value}" for value in sweep.sweep_string_iterator()]


def _eval_datasets(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the data sets listed in `stage.datasets`, by name. Each is a dataset option or a JSONL file."""
    stage, own = mapping.get("stage"), mapping.get("dataset")
    names = stage.get("datasets") if isinstance(stage, dict) else None
    if isinstance(names, str):  # checked here, since a later message would name a key of a pipeline's part
        raise ConfigError(Message("stage.datasets", f"must be a list, such as [{names}]"))
    if not isinstance(names, list) or not isinstance(own, dict):
        return {}  # load_config reports wrong types
    found: dict[str, Any] = {}
    for name in names:
        dataset = own if name == own.get("name") else _dataset(str(name), own)
        if dataset["name"] in found:
            text = f"two data sets in {names} have the same name"
            raise ConfigError(Message("stage.datasets", text, "rename one, because results are stored by name"))
        found[dataset["name"]] = dataset
    return found


def _dataset(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an evaluation data set, given the settings `own` of the run's dataset group."""
    if name.endswith(".jsonl"):
        # A file is read like the run's own data if that is JSONL too, else with the defaults of dataset=jsonl.
        settings = own if own.get("source") == "jsonl" else _dataset("jsonl", own)
        return {**settings, "name": Path(name).stem, "path": None, "eval_path": name}
    options = options_of("dataset")
    if name not in options:
        text = f"{name!r} is neither a dataset option nor a .jsonl file"
        raise ConfigError(Message("stage.datasets", text, suggest_name(name, options)))
    return compose_option("dataset", name)
