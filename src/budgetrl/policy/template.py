"""Remove the `<think>` that some chat templates put at the start of the response.

Formats whose response starts with a tag need this. The template itself is not edited: it could write `<think>` in any
way. Instead it is wrapped in Jinja that renders the whole template and cuts off the `<think>` at the end.
`with_think` undoes `without_think`, except that a newline at the very end of the template is lost, which Jinja does not
render anyway.
"""

import re
from collections.abc import Callable
from copy import copy

from transformers import PreTrainedTokenizerBase

THINK_PREFILL = re.compile(r"<think>\s*\Z")
"""A `<think>` at the end of a rendered prompt, with the whitespace after it."""

_HEAD = "{% set whole_prompt %}\n"
"""Captures the template's output. transformers drops the newline after a block (`trim_blocks`), so the template still
starts at the beginning of a line, which matters for its own whitespace handling."""
_TAIL = (
    "{{ '' }}{% endset %}{% set turn = whole_prompt.rstrip() %}"
    # 7 is the length of <think>. The slice instead of `removesuffix`: Jinja of other servers has no such method.
    "{{ turn[:-7] if add_generation_prompt and turn.endswith('<think>') else whole_prompt }}"
)
"""Outputs the captured prompt without `<think>`. The empty expression at its start keeps the template's last blanks:
transformers drops blanks between the start of a line and a block (`lstrip_blocks`)."""


def without_think(template: str) -> str:
    """Return a template that renders like `template`, without the `<think>` at the end of a generation prompt."""
    if _is_wrapped(template):
        return template
    # Jinja does not render a newline at the very end of a template. Inside the wrapper it would be rendered.
    return _HEAD + re.sub(r"(\r\n|\r|\n)\Z", "", template) + _TAIL


def with_think(template: str) -> str:
    """Return the template that was passed to `without_think`. Other templates are returned unchanged."""
    return template.removeprefix(_HEAD).removesuffix(_TAIL) if _is_wrapped(template) else template


def rewrite_chat_template(tokenizer: PreTrainedTokenizerBase, change: Callable[[str], str]) -> PreTrainedTokenizerBase:
    """Return a copy of the tokenizer with `change` applied to its chat templates, or itself if nothing changes."""
    old = tokenizer.chat_template
    if not old:
        return tokenizer
    # A dict holds several templates by name, such as "default" and "tool_use".
    new = {name: change(text) for name, text in old.items()} if isinstance(old, dict) else change(old)
    if new == old:
        return tokenizer
    changed = copy(tokenizer)
    changed.chat_template = new
    return changed


def _is_wrapped(template: str) -> bool:
    return template.startswith(_HEAD) and template.endswith(_TAIL)
