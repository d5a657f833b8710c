"""Chat templates that begin the response with `<think>`, where a format's own start is to come first.

What a template puts there is known by rendering it. So it is not edited: it is wrapped in Jinja that renders it whole
and leaves the end off. `without_think` and `with_think` are each other's inverse, but for a template's last newline,
which Jinja does not render.
"""

import re
from collections.abc import Callable
from copy import copy

from transformers import PreTrainedTokenizerBase

THINK_PREFILL = re.compile(r"<think>\s*\Z")
"""The start of a response, where a template gives it."""

_HEAD = "{% set whole_prompt %}\n"
"""transformers drops the newline behind a block, so that the template begins a line, as it does by itself."""
_TAIL = (
    "{{ '' }}{% endset %}{% set turn = whole_prompt.rstrip() %}"
    "{{ turn[:-7] if add_generation_prompt and turn.endswith('<think>') else whole_prompt }}"
)
"""Begins with an empty expression because transformers drops blanks at the start of a line before a block."""


def without_think(template: str) -> str:
    """A template that renders like `template`, but for a `<think>` at the end of a generation prompt.

    In Jinja that servers other than transformers know, too: no `removesuffix`, no `+%}`.
    """
    return template if _is_wrapped(template) else _HEAD + re.sub(r"(\r\n|\r|\n)\Z", "", template) + _TAIL


def with_think(template: str) -> str:
    """The template that `without_think` was given; any other as it is."""
    return template.removeprefix(_HEAD).removesuffix(_TAIL) if _is_wrapped(template) else template


def rewrite_chat_template(tokenizer: PreTrainedTokenizerBase, change: Callable[[str], str]) -> PreTrainedTokenizerBase:
    """The tokenizer with its chat template changed, or all of them if it has several; itself if nothing changes."""
    old = tokenizer.chat_template
    if not old:
        return tokenizer
    new = {name: change(text) for name, text in old.items()} if isinstance(old, dict) else change(old)
    if new == old:
        return tokenizer
    other = copy(tokenizer)
    other.chat_template = new
    return other


def _is_wrapped(template: str) -> bool:
    return template.startswith(_HEAD) and template.endswith(_TAIL)
