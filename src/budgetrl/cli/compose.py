"""From a command line to checked configurations. The only module that knows Hydra.

The whole request is composed and checked before Hydra's own machinery starts, so that a wrong key
anywhere in a sweep is one line on the terminal, and nothing is created.
"""

import itertools
import os
import re
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from budgetrl.cli.sweep import Sweep
from budgetrl.core.checks import nearest
from budgetrl.planning.auto import settle
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.identity import flatten
from budgetrl.settings.config import Config, errors, load_config, run_dir
from budgetrl.settings.strict import ConfigError, to_plain

VERSION_BASE = "1.3"
CONFIG_NAME = "config"
HELP_WIDTH = 100
MOST_JOBS_CHECKED = 16
"""A sweep of more jobs is checked value by value rather than combination by combination: composing takes time."""


def config_dir() -> Path:
    """The folder of the shipped options: in the package where it is installed, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "conf", package.parent.parent / "conf")
    return next(folder for folder in folders if (folder / "config.yaml").is_file())


def check_request(argv: Sequence[str]) -> None:
    """Compose and check every job that a command line asks for.

    Raises:
        ConfigError: for the first thing that is wrong in any of them.
    """
    args = get_args_parser().parse_intermixed_args(list(argv))
    if args.help or args.hydra_help or args.info or args.shell_completion or args.experimental_rerun:
        return
    with _searching(args):
        _check_jobs(args)


def overrides_first(argv: Sequence[str]) -> list[str]:
    """The same command line in the one order that Hydra can read: `a=1 -m b=2` fails there, `a=1 b=2 -m` does not.

    >>> overrides_first(["stage=grpo", "-m", "seed=1,2"])
    ['stage=grpo', 'seed=1,2', '-m']
    """
    overrides = get_args_parser().parse_intermixed_args(list(argv)).overrides
    return [*overrides, *(word for word in argv if word not in overrides)]


def run(start: Callable[[Config], int], sweep: Sweep) -> int:
    """Hand the process's command line to Hydra, which calls `start` for a run, or gives a multirun's jobs to `sweep`.

    Returns the exit code. A failed job does not end a sweep; one that was interrupted or told to stop does.
    """
    codes: list[int] = []
    sweep_dirs: list[Path] = []

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_dir()), config_name=CONFIG_NAME)
    def job(cfg: DictConfig) -> float | None:
        settings = HydraConfig.get()
        if settings.mode != RunMode.MULTIRUN:
            codes.append(start(_config(cfg, None)))
            return None
        sweep_dirs.append(Path(settings.sweep.dir))
        overrides = list(settings.overrides.task)
        try:
            config = _config(cfg, settings.sweep.dir)
        except ConfigError as error:  # of a combination, in a sweep too large to check them all before
            return sweep.refuse(overrides, error)
        code = sweep.take(overrides, config)
        if code in (130, 143):
            raise SystemExit(code)
        try:
            return _metric(config, code)
        except ConfigError as error:  # Hydra would run all other jobs first, for nothing
            sys.stderr.write(f"budgetrl: {error}\n")
            raise SystemExit(2) from None

    job()
    return sweep.finish(sweep_dirs[0]) if sweep_dirs else max(codes, default=0)


def _check_jobs(args: Namespace) -> None:
    given = {text: _parse(text) for text in args.overrides}
    plain = [text for text, o in given.items() if not o.is_sweep_override()]
    cfg = _compose(args, plain, return_hydra_config=True)
    settings = cfg.hydra
    multirun = args.multirun or settings.mode == RunMode.MULTIRUN
    sweeps = {text: o for text, o in given.items() if o.is_sweep_override()}
    if sweeps and not multirun:
        text, key = next((text, o.key_or_group) for text, o in sweeps.items())
        raise ConfigError(f"{key}: {text} is a sweep and needs -m; a list is written in brackets, {key}=[...]")
    sweep_dir = settings.sweep.dir if multirun else None
    if multirun and settings.sweeper.get("params"):
        more = [f"{key}={values}" for key, values in settings.sweeper.params.items()]
        sweeps |= {text: _parse(text) for text in more}
    if not sweeps:
        _config(cfg, sweep_dir)
        return
    folders: dict[Path, str] = {}
    for swept in _combinations(sweeps):
        config = _config(_compose(args, [*plain, *swept]), sweep_dir)
        label = " ".join(swept)
        if (other := folders.setdefault(run_dir(config), label)) != label:
            raise ConfigError(f"run.dir: the jobs {other!r} and {label!r} would share the folder {run_dir(config)}")


def _config(cfg: DictConfig, sweep_dir: str | None) -> Config:
    """The checked configuration of one composed job, which lies below `sweep_dir` if it is one of a sweep."""
    mapping = to_plain(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    if sweep_dir is not None:
        mapping["run"]["root"] = sweep_dir
        mapping["tracking"]["group"] = mapping["tracking"].get("group") or Path(sweep_dir).resolve().name
    if mapping.get("eval_datasets"):
        raise ConfigError("eval_datasets: follows from stage.datasets; name options or files there")
    mapping["eval_datasets"] = _eval_datasets(mapping)
    config = load_config(settle(mapping))
    if found := errors(config):
        raise ConfigError(*found)
    return config


def _eval_datasets(mapping: dict[str, Any]) -> dict[str, Any]:
    """The data sets that `stage.datasets` names: options of the dataset group, or JSONL files."""
    stage, own = mapping.get("stage"), mapping.get("dataset")
    names = stage.get("datasets") if isinstance(stage, dict) else None
    if isinstance(names, str):  # in the pipeline's parts, too, where the message would be about another key
        raise ConfigError(f"stage.datasets: must be a list, such as [{names}]")
    if not isinstance(names, list) or not isinstance(own, dict):
        return {}
    found = [own if name == own.get("name") else _dataset(str(name), own) for name in names]
    if len({node["name"] for node in found}) < len(found):
        raise ConfigError(f"stage.datasets: two of {names} have the same name; results are filed by name")
    return {node["name"]: node for node in found}


def _dataset(name: str, own: dict[str, Any]) -> dict[str, Any]:
    if name.endswith(".jsonl"):
        like = own if own.get("source") == "jsonl" else _dataset("jsonl", own)
        return {**like, "name": Path(name).stem, "path": None, "eval_path": name}
    options = _loader().get_group_options("dataset")
    if name not in options:
        raise ConfigError(f"stage.datasets: no dataset option or .jsonl file is {name!r}; {nearest(name, options)}")
    return to_plain(hydra.compose(f"dataset/{name}"))["dataset"]


def _combinations(sweeps: Mapping[str, Override]) -> list[tuple[str, ...]]:
    """The jobs of a sweep as override strings: all combinations, or if those are too many, each value once."""
    choices = [_values(text, sweep) for text, sweep in sweeps.items() if not sweep.is_interval_sweep()]
    jobs = list(itertools.islice(itertools.product(*choices), MOST_JOBS_CHECKED + 1))
    if len(jobs) <= MOST_JOBS_CHECKED:
        return jobs
    longest = max(map(len, choices))
    return [tuple(values[min(i, len(values) - 1)] for values in choices) for i in range(longest)]


def _values(text: str, sweep: Override) -> list[str]:
    key = text.split("=", 1)[0]
    return [f"{key}={value}" for value in sweep.sweep_string_iterator()]


@contextmanager
def _searching(args: Namespace) -> Iterator[None]:
    """Hydra with the search path that the flags ask for: the user's folder first, then ours."""
    for flag, folder in (("--config-dir", args.config_dir), ("--config-path", args.config_path)):
        if folder and not Path(folder).is_dir():
            raise ConfigError(f"{flag}: there is no folder {folder}")
    version.setbase(VERSION_BASE)
    search_path = create_config_search_path(os.path.abspath(args.config_path or config_dir()))
    if args.config_dir:  # hydra.initialize_config_dir, the public way, cannot put a folder before its own
        search_path.prepend("command-line", f"file://{os.path.abspath(args.config_dir)}")
    Hydra.create_main_hydra2("budgetrl", search_path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def _compose(args: Namespace, overrides: list[str], **options: Any) -> DictConfig:
    """Compose one job, or raise a ConfigError that says which override is wrong."""
    for choice in _choices(overrides):
        _check_is_name(choice)
    name = args.config_name or CONFIG_NAME
    try:
        return hydra.compose(name, overrides, **options)
    except _COMPOSING as error:
        _explain(name, overrides)
        raise ConfigError(_in_one_line(error)) from None


_COMPOSING = (HydraException, OmegaConfBaseException, YAMLError)
"""What composing raises for a wrong request, or for a wrong option file of the user's own."""


def _in_one_line(error: Exception) -> str:
    """The first line of an error of Hydra's; of a YAML file's the last two, which say what is wrong, and where."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[-2:]) if isinstance(error, YAMLError) else lines[0]


def _explain(name: str, overrides: list[str]) -> None:
    """Raise a ConfigError for the override that names no option or no key, if there is one."""
    groups = _groups()
    parsed, choices = [_parse(text) for text in overrides], _choices(overrides)
    for choice in choices:
        _check_option(choice)
    try:
        ours = {*_with_groups(to_plain(hydra.compose(name, [str(o.input_line) for o in choices]))), *groups}
    except _COMPOSING:
        return  # an option itself is wrong: what was said of it stands
    hydras = _with_groups({"hydra": hydra.compose(name, return_hydra_config=True).hydra})
    for override in parsed:
        key = override.key_or_group
        names = hydras if key.startswith("hydra.") else ours
        if override.type == OverrideType.CHANGE and key not in names and not key.startswith("hydra/"):
            raise ConfigError(f"{key}: there is no such key; {nearest(key, names)}")
        if override.type == OverrideType.CHANGE and isinstance(override.value(), dict):
            raise ConfigError(f"{key}: to add entries of your own, write '++{override.input_line}'")


def _with_groups(mapping: Mapping[str, Any]) -> set[str]:
    """All dotted keys of a configuration: those of values, and of the groups right above them."""
    keys = flatten({name: _unresolved(node) for name, node in mapping.items()})
    return {*keys, *(key.rpartition(".")[0] for key in keys)} - {""}


def _unresolved(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


def _groups() -> set[str]:
    return set(_loader().list_groups("")) - {"hydra"}


def _choices(overrides: Iterable[str]) -> list[Override]:
    """The overrides that choose a group's option, those that delete a group left out."""
    parsed = [_parse(text) for text in overrides]
    return [o for o in parsed if o.key_or_group in _groups() and o.type != OverrideType.DEL]


def _check_is_name(choice: Override) -> None:
    """Hydra complains about a choice that is no text with an error that is not of its own kinds."""
    group, is_optional = choice.key_or_group, choice.key_or_group == "experiment"
    if not isinstance(choice.value(), str) and not (is_optional and choice.value() is None):
        options = ", ".join(_loader().get_group_options(group))
        raise ConfigError(f"{group}: must be the name of an option; there are {options}")


def _check_option(choice: Override) -> None:
    group, value = choice.key_or_group, choice.value()
    if choice.type != OverrideType.CHANGE:
        raise ConfigError(f"{group}: is chosen, not added; write {group}={value}")
    options = _loader().get_group_options(group)
    if value is not None and value not in options:
        raise ConfigError(f"{group}: there is no option {value!r}; {nearest(str(value), options)}")


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create(config_loader=_loader()).parse_override(text)
    except HydraException as error:
        raise ConfigError(f"{text}: cannot be read as key=value; {str(error).splitlines()[0]}") from None


def _settings_help() -> str:
    """What config.yaml's own comments say about each group, with its options, and about each key at its top."""
    text = (config_dir() / f"{CONFIG_NAME}.yaml").read_text()
    lines = []
    for name, meaning in re.findall(r"^(?:  - )?(\w+): \S+ # (.+)$", text, re.MULTILINE):
        options = ", ".join(_loader().get_group_options(name))
        entry = f"  {name:<11} {meaning}{options and ': '}{options}"
        lines += textwrap.wrap(entry, HELP_WIDTH, subsequent_indent=" " * 14)
    return "\n".join(lines)


OmegaConf.register_new_resolver("settings_help", _settings_help, replace=True)


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def _metric(config: Config, code: int) -> float | None:
    """The number a sweeper optimizes; NaN, which it takes for a failed trial, if the job failed."""
    if config.run.metric is None or config.mode == "dry":
        return None
    if code:
        return float("nan")
    key, result = config.run.metric, RunFolder(run_dir(config)).read_result()
    if key not in result:
        raise ConfigError(f"run.metric: result.json has no {key}; {nearest(key, result)}")
    return result[key]
