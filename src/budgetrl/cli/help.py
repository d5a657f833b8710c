"""`--help`: the template in conf/config.yaml, with all groups, their options, and the comments from that file."""

import re
import textwrap
from argparse import Namespace

from omegaconf import OmegaConf

from budgetrl.cli.composing import CONFIG_NAME, compose, config_dir, options_of, search_path

WIDTH = 100


def help_text(args: Namespace) -> str:
    """Return the help text."""
    # Hydra's own --help is slow: it reads every option of all its own groups, twice.
    with search_path(args):
        return compose(args, args.overrides).hydra.help.template


def _settings_help() -> str:
    """Return a line for each group and each top-level key of config.yaml: its comment, and the options of a group."""
    text = (config_dir() / f"{CONFIG_NAME}.yaml").read_text()
    lines: list[str] = []
    # Matches "  - reward: budget_cosine # comment" in the defaults list and "seed: 0 # comment" at the top level.
    for name, meaning in re.findall(r"^(?:  - )?(\w+): \S+ # (.+)$", text, re.MULTILINE):
        options = ", ".join(options_of(name))
        entry = f"  {name:<11} {meaning}: {options}" if options else f"  {name:<11} {meaning}"
        lines += textwrap.wrap(entry, WIDTH, subsequent_indent=" " * 14)
    return "\n".join(lines)


# The template refers to this as ${settings_help:}.
OmegaConf.register_new_resolver("settings_help", _settings_help, replace=True)
