"""`--help`: the template in conf/config.yaml, with the groups, their options and what the comments there say."""

import re
import textwrap
from argparse import Namespace

from omegaconf import OmegaConf

from budgetrl.cli.composing import CONFIG_NAME, compose, config_dir, options_of, search_path

WIDTH = 100


def help_text(args: Namespace) -> str:
    """The whole help. Composed by ourselves: Hydra would read all options of all of its own groups, twice."""
    with search_path(args):
        return compose(args, args.overrides).hydra.help.template


def _settings_help() -> str:
    """What config.yaml's own comments say about each group, with its options, and about each key at its top."""
    text = (config_dir() / f"{CONFIG_NAME}.yaml").read_text()
    lines: list[str] = []
    for name, meaning in re.findall(r"^(?:  - )?(\w+): \S+ # (.+)$", text, re.MULTILINE):
        options = ", ".join(options_of(name))
        entry = f"  {name:<11} {meaning}: {options}" if options else f"  {name:<11} {meaning}"
        lines += textwrap.wrap(entry, WIDTH, subsequent_indent=" " * 14)
    return "\n".join(lines)


OmegaConf.register_new_resolver("settings_help", _settings_help, replace=True)
