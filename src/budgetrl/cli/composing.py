"""From override strings to one composed configuration, or to one line that says which override is wrong.

This module, `request` and `hydra_app` are the only ones that know Hydra.
"""

import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from budgetrl.core.checks import nearest
from budgetrl.core.messages import Message
from budgetrl.runs.identity import flatten
from budgetrl.settings.strict import ConfigError, to_plain, unknown_key

VERSION_BASE = "1.3"
CONFIG_NAME = "config"
_COMPOSING = (HydraException, OmegaConfBaseException, YAMLError)
"""What composing raises for a wrong request, or for a wrong option file of the user's own."""


def config_dir() -> Path:
    """The folder of the shipped options: in the package where it is installed, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if (installed / "config.yaml").is_file() else package.parent.parent / "conf"


def parse_arguments(argv: Sequence[str]) -> Namespace:
    """Hydra's own flags, and under `overrides` everything else."""
    return get_args_parser().parse_intermixed_args(list(argv))


@contextmanager
def search_path(args: Namespace) -> Iterator[None]:
    """Hydra with the search path that the flags ask for: the user's folder first, then ours."""
    for flag, folder in (("--config-dir", args.config_dir), ("--config-path", args.config_path)):
        if folder and not Path(folder).is_dir():
            raise ConfigError(Message(flag, f"there is no folder {folder}"))
    version.setbase(VERSION_BASE)
    path = create_config_search_path(os.path.abspath(args.config_path or config_dir()))
    if args.config_dir:  # hydra.initialize_config_dir, the public way, cannot put a folder before its own
        path.prepend("command-line", f"file://{os.path.abspath(args.config_dir)}")
    Hydra.create_main_hydra2("budgetrl", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def compose(args: Namespace, overrides: list[str]) -> DictConfig:
    """Compose one job, with Hydra's own settings under `hydra`. Raises ConfigError about the override that is wrong."""
    for choice in _choices(overrides):
        _check_is_name(choice)
    name = args.config_name or CONFIG_NAME
    try:
        return hydra.compose(name, overrides, return_hydra_config=True)
    except _COMPOSING as error:
        _explain(name, overrides)
        raise ConfigError(_in_one_line(error)) from None


def compose_option(group: str, name: str) -> dict[str, Any]:
    """One option of a group by itself, such as `dataset=math`."""
    return to_plain(hydra.compose(f"{group}/{name}"))[group]


def options_of(group: str) -> list[str]:
    """The names of a group's options, the user's own among them."""
    return _loader().get_group_options(group)


def parse_override(text: str) -> Override:
    """An override as Hydra reads it. Raises ConfigError where it cannot be read."""
    try:
        return OverridesParser.create(config_loader=_loader()).parse_override(text)
    except HydraException as error:
        raise ConfigError(f"{text}: cannot be read as key=value; {str(error).splitlines()[0]}") from None


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def _in_one_line(error: Exception) -> str:
    """The first line of an error of Hydra's; of a YAML file's the last two, which say what is wrong, and where."""
    lines = str(error).splitlines()
    if not isinstance(error, YAMLError):
        return lines[0].strip()
    return " ".join(map(str.strip, lines[-2:]))


def _explain(name: str, overrides: list[str]) -> None:
    """Raise a ConfigError for the override that names no option or no key, if there is one."""
    choices = _choices(overrides)
    for choice in choices:
        _check_option(choice)
    try:
        composed = to_plain(hydra.compose(name, [str(choice.input_line) for choice in choices]))
    except _COMPOSING:
        return  # an option itself is wrong: what Hydra said of it stands
    names = {*_keys_and_groups(composed), *_groups()}
    parsed = list(map(parse_override, overrides))
    if any(override.key_or_group.startswith("hydra.") for override in parsed):
        own = hydra.compose(name, return_hydra_config=True).hydra
        names |= _keys_and_groups({"hydra": OmegaConf.to_container(own, resolve=False)})
    for override in parsed:
        key = override.key_or_group
        if override.type != OverrideType.CHANGE or key.startswith("hydra/"):
            continue
        if key not in names:
            raise unknown_key(key, [known for known in names if known.startswith("hydra.") == key.startswith("hydra.")])
        if isinstance(override.value(), dict):
            raise ConfigError(Message(key, f"to add entries of your own, write '++{override.input_line}'"))


def _keys_and_groups(mapping: Mapping[str, Any]) -> set[str]:
    """All dotted keys of a configuration: those of values, and of the groups above them."""
    keys: set[str] = set()
    for key in flatten(mapping):
        while key:
            keys.add(key)
            key = key.rpartition(".")[0]
    return keys


def _groups() -> set[str]:
    return set(_loader().list_groups("")) - {"hydra"}


def _choices(overrides: Iterable[str]) -> list[Override]:
    """The overrides that choose a group's option, those that delete a group left out."""
    groups, choices = _groups(), []
    for override in map(parse_override, overrides):
        if override.key_or_group in groups and override.type != OverrideType.DEL:
            choices.append(override)
    return choices


def _check_is_name(choice: Override) -> None:
    """Hydra complains about a choice that is no text with an error that is not of its own kinds."""
    group, is_optional = choice.key_or_group, choice.key_or_group == "experiment"
    if not isinstance(choice.value(), str) and not (is_optional and choice.value() is None):
        options = ", ".join(options_of(group))
        raise ConfigError(Message(group, "must be the name of an option", f"there are {options}"))


def _check_option(choice: Override) -> None:
    group, value = choice.key_or_group, choice.value()
    if choice.type != OverrideType.CHANGE:
        raise ConfigError(Message(group, "is chosen, not added", f"write {group}={value}"))
    options = options_of(group)
    if value is not None and value not in options:
        raise ConfigError(Message(group, f"there is no option {value!r}", nearest(str(value), options)))
