"""Composes a configuration from override strings, or raises an error that names the wrong override.

Only this module, `request` and `hydra_app` import Hydra.
"""

import os
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from budgetrl.core.checks import suggest_name
from budgetrl.core.messages import Message
from budgetrl.runs.identity import flatten
from budgetrl.settings.strict import ConfigError, to_plain, unknown_key

VERSION_BASE = "1.3"
CONFIG_NAME = "config"
FORMATS = "model.formats"
"""The key below which a user may add entries: settings of formats of their own."""
_COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
"""Errors from composing that the user can cause: a wrong override, or a mistake in an option file."""


def config_dir() -> Path:
    """Return the folder of the built-in options."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"  # a wheel has it inside the package
    if (installed / "config.yaml").is_file():
        return installed
    return package.parent.parent / "conf"  # a checkout has it next to src/


def parse_arguments(argv: Sequence[str]) -> Namespace:
    """Return Hydra's flags, and all other words under `overrides`."""
    return get_args_parser().parse_intermixed_args(list(argv))


@contextmanager
def search_path(args: Namespace) -> Iterator[None]:
    """Set up Hydra to look for options in the user's folder first, then in the built-in one.

    Raises ConfigError if a folder given by a flag does not exist.
    """
    for flag, folder in (("--config-dir", args.config_dir), ("--config-path", args.config_path)):
        if folder and not Path(folder).is_dir():
            raise ConfigError(Message(flag, f"there is no folder {folder}", "create it or fix the path"))
    version.setbase(VERSION_BASE)
    path = create_config_search_path(os.path.abspath(args.config_path or config_dir()))
    if args.config_dir:
        # The public hydra.initialize_config_dir cannot put a folder before its own, hence the private functions.
        path.prepend("command-line", f"file://{os.path.abspath(args.config_dir)}")
    Hydra.create_main_hydra2("budgetrl", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def compose(args: Namespace, overrides: list[str]) -> DictConfig:
    """Compose the configuration of one job, with Hydra's settings under `hydra`.

    Raises ConfigError if it cannot be composed. The message names the wrong override if one can be identified.
    """
    for choice in _group_choices(overrides):
        _check_is_name(choice)
    name = args.config_name or CONFIG_NAME
    try:
        return hydra.compose(name, overrides, return_hydra_config=True)
    except _COMPOSE_ERRORS as error:
        # Hydra's messages rarely name the mistake. Look for it, and use Hydra's message only as a last resort.
        _check_overrides(name, overrides)
        raise ConfigError(_one_line(error)) from None


def compose_option(group: str, name: str) -> dict[str, Any]:
    """Return a single option of a group, such as `dataset=math`, as a mapping."""
    return to_plain(hydra.compose(f"{group}/{name}"))[group]


def options_of(group: str) -> list[str]:
    """Return the names of a group's options, including the user's own."""
    return _loader().get_group_options(group)


def parse_override(text: str) -> Override:
    """Parse an override with Hydra's grammar. Raises ConfigError if that fails."""
    try:
        return OverridesParser.create(config_loader=_loader()).parse_override(text)
    except HydraException as error:
        raise ConfigError(Message(text, "cannot be parsed as key=value", str(error).splitlines()[0])) from None


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def _one_line(error: Exception) -> str:
    """Return the most useful line of an error."""
    lines = str(error).splitlines()
    if not isinstance(error, YAMLError):
        return lines[0].strip()
    # The last two lines of a YAML error say what is wrong, and in which file and line.
    return " ".join(map(str.strip, lines[-2:]))


def _check_overrides(name: str, overrides: list[str]) -> None:
    """Raise ConfigError for the first override with an unknown option or key, if there is one."""
    choices = _group_choices(overrides)
    for choice in choices:
        _check_option(choice)
    # Which keys exist depends on the options chosen, so compose these without any other override.
    try:
        composed = to_plain(hydra.compose(name, [str(choice.input_line) for choice in choices]))
    except _COMPOSE_ERRORS:
        return  # an option file itself is wrong, and Hydra's message is about that file
    own_keys = {*_all_keys(composed), *_groups()}
    for override in map(parse_override, overrides):
        key = override.key_or_group
        # Added (+key) and deleted (~key) keys, and options of Hydra's own groups, are left to Hydra.
        if override.type != OverrideType.CHANGE or key.startswith("hydra/"):
            continue
        keys = _hydra_keys(name) if key.startswith("hydra.") else own_keys
        if key not in keys:
            raise _unknown_format(override, keys) or unknown_key(key, list(keys))
        if isinstance(override.value(), dict):  # Hydra allows no new keys in a mapping without ++
            raise ConfigError(Message(key, f"to add entries of your own, write '++{override.input_line}'"))


def _unknown_format(override: Override, keys: Collection[str]) -> ConfigError | None:
    """Return the error about settings of a format that the model has no entry for; None for any other unknown key.

    A format may be the user's own, so its entry is not a mistake unless the name is close to that of another one.
    """
    if not override.key_or_group.startswith(f"{FORMATS}."):
        return None
    name, _, field = override.key_or_group.removeprefix(f"{FORMATS}.").rpartition(".")
    if not name or f"{FORMATS}.{name}" in keys or suggest_name(f"{FORMATS}.{name}", keys).startswith("did you mean"):
        return None
    words = str(override.input_line)
    if "." in name:  # an import path; in a key, its dots would separate groups
        words = f"{FORMATS}={{{name}:{{{field}:{words.partition('=')[2]}}}}}"
    return ConfigError(Message(override.key_or_group, f"to add entries of your own, write '++{words}'"))


def _hydra_keys(name: str) -> set[str]:
    """Return the keys of Hydra's own settings."""
    settings = hydra.compose(name, return_hydra_config=True).hydra
    # Not resolved: some of Hydra's interpolations only work while a job is running.
    return _all_keys({"hydra": OmegaConf.to_container(settings, resolve=False)})


def _all_keys(mapping: Mapping[str, Any]) -> set[str]:
    """Return all dotted keys of a configuration: a.b.c, and also a.b and a."""
    keys: set[str] = set()
    for key in flatten(mapping):
        while key:
            keys.add(key)
            key = key.rpartition(".")[0]
    return keys


def _groups() -> set[str]:
    return set(_loader().list_groups("")) - {"hydra"}


def _group_choices(overrides: Iterable[str]) -> list[Override]:
    """Return the overrides that choose an option of a group, such as `reward=accuracy`. `~reward` is not among them."""
    groups, choices = _groups(), []
    for override in map(parse_override, overrides):
        if override.key_or_group in groups and override.type != OverrideType.DEL:
            choices.append(override)
    return choices


def _check_is_name(choice: Override) -> None:
    """Raise ConfigError if the value of a group is not a string, such as reward=3. Only `experiment` may be null."""
    # Checked before composing: Hydra raises an exception outside its own hierarchy for such values.
    group, value = choice.key_or_group, choice.value()
    is_unset_experiment = group == "experiment" and value is None
    if not isinstance(value, str) and not is_unset_experiment:
        options = ", ".join(options_of(group))
        raise ConfigError(Message(group, "must be the name of an option", f"there are {options}"))


def _check_option(choice: Override) -> None:
    """Raise ConfigError if a group is added with `+`, or has no such option."""
    group, value = choice.key_or_group, choice.value()
    if choice.type != OverrideType.CHANGE:
        raise ConfigError(Message(group, "this group is already in the configuration", f"write {group}={value}"))
    options = options_of(group)
    if value is not None and value not in options:
        raise ConfigError(Message(group, f"there is no option {value!r}", suggest_name(str(value), options)))
