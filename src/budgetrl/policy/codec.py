"""Conversion between text and tokens: prompts, pre-filled budgets, fine-tuning targets, and parsing of responses.

Tags are searched in decoded text, not among token ids: real tokenizers split a tag into several tokens, and the last
character of a tag can share a token with the text after it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from budgetrl.formats.base import BUDGET_SLOT, ResponseFormat, Target
from budgetrl.grading.grader import ParsedResponse
from budgetrl.policy.budgets import writable_budget
from budgetrl.policy.template import THINK_PREFILL, rewrite_chat_template, without_think
from budgetrl.settings.model import ModelSettings

_THINK_END = "</think>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens that the model gets: the user's turn, and the start of the response if that is given too."""

    ids: tuple[int, ...]
    prefix_ids: tuple[int, ...] = ()
    """Response tokens that are given to the model: a pre-filled budget, or the chat template's `<think>`."""

    @property
    def all_ids(self) -> tuple[int, ...]:
        """Everything that the model gets."""
        return self.ids + self.prefix_ids


class TextCodec:
    """A tokenizer and the rules by which its model is prompted and its responses are read."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: ModelSettings, stop_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.stop_ids = tuple(stop_ids)

    def prompt(self, problem: str, fmt: ResponseFormat, budget: int | None = None) -> Prompt:
        """Return the prompt of a problem in a format, with the budget in it if one is given.

        If the chat template starts the response with `<think>`, that becomes part of `prefix_ids`. Formats whose
        response starts with something else, such as a budget tag, drop it.

        Raises:
            ValueError: A budget for a format that has none, or no budget for a format that needs one in the prompt.
        """
        if budget is None and fmt.budget_in == "prompt":
            raise ValueError(f"the {fmt.name} format needs a budget in the prompt")
        if budget is not None and fmt.budget_in is None:
            raise ValueError(f"the {fmt.name} format has no budget to pre-fill")
        written = None if budget is None else self.writable(budget)
        text = self._render(problem, fmt, written)
        think = THINK_PREFILL.search(text)
        turn = text[: think.start()] if think else text
        prefix = fmt.prefill(written)
        if think and not fmt.starts_response:
            prefix = think.group() + prefix
        # A chat template writes its own begin token; a tokenizer without a template must add it.
        return Prompt(self.encode(turn, start=not self.tokenizer.chat_template), self.encode(prefix))

    def target(self, target: Target, body_ids: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens of a response to train on, end token included."""
        # Each text around the body is encoded by itself. A budget tag pre-filled at inference is encoded by itself
        # too, and so has the same tokens as in training.
        ids: list[int] = []
        for text in target.before:
            ids += self.encode(text)
        ids += body_ids
        for text in target.after:
            ids += self.encode(text)
        return (*ids, self.stop_ids[0])

    def written(self, text: str) -> str:
        """Return a text after encoding and decoding. It differs if the tokenizer lacks words or changes whitespace."""
        return self.decode(self.encode(text))

    def writable(self, tokens: int, at_least: bool = False) -> int:
        """Return the nearest budget that the tokenizer can write. With `at_least`: the nearest not below `tokens`."""
        return writable_budget(self.tokenizer, max(1, tokens), at_least)

    def tokenizer_to_save(self, fmt: ResponseFormat) -> PreTrainedTokenizerBase:
        """Return the tokenizer to save with a checkpoint that learned a format.

        Its chat template renders the same prompts as `prompt`: no `<think>` if the format starts the response itself.
        """
        begun = fmt.starts_response and THINK_PREFILL.search(self._render("", fmt, None))
        return rewrite_chat_template(self.tokenizer, without_think) if begun else self.tokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """Return the exact text of tokens, including special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def encode(self, text: str, start: bool = False) -> tuple[int, ...]:
        """Return the tokens of a text. With `start`, the tokenizer may add its begin token."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=start)) if text else ()

    def read(self, response_ids: Sequence[int], fmt: ResponseFormat) -> ParsedResponse:
        """Parse a whole response, pre-filled tokens included. A final end token is removed and does not count."""
        ids = list(response_ids)
        if ids and ids[-1] in self.stop_ids:
            ids.pop()
        text = self.decode(ids)
        parsed = fmt.parse(text)
        start, end = self._token_at(ids, parsed.body_start), self._token_at(ids, parsed.body_end)
        length = len(ids) if self.settings.length == "response" else end - start
        return ParsedResponse(text, parsed, length, self._thinking_length(ids, text, start), tuple(ids[start:end]))

    def budget_field(self, response_ids: Sequence[int], fmt: ResponseFormat, prefilled: int = 0) -> range:
        """Return the positions of the tokens that decide the budget: its digits and the first token after them.

        Empty if the response does not start with a budget, or the budget was pre-filled.
        """
        # The token after the digits counts, because it decides that the number has no further digit.
        ids = response_ids[:_BUDGET_FIELD_WINDOW]
        span = None if prefilled else fmt.budget_span(self.decode(ids))
        if span is None:
            return range(0)
        start, end = span
        return range(self._token_at(ids, start), min(self._token_at(ids, end) + 1, len(ids)))

    def _token_at(self, ids: Sequence[int], position: int) -> int:
        """Return the index of the first token that starts at or after a character position of the decoded text."""
        if position == 0:
            return 0

        def text_length(count: int) -> int:
            return len(self.decode(ids[:count]))

        # Smallest number of tokens whose text extends beyond the position. A binary search, since each look decodes.
        # Some characters, such as emojis, take several tokens: the text then has the same length after each of them,
        # and bisect_right counts them all.
        beyond = bisect_right(range(len(ids) + 1), position, key=text_length)
        # The last of these tokens starts at the position, or else extends across it, and the next one is the first.
        return beyond - 1 if text_length(beyond - 1) == position else beyond

    def _thinking_length(self, ids: Sequence[int], text: str, body_start: int) -> int | None:
        """Return the number of body tokens up to and including `</think>`, or None without one."""
        end = text.find(_THINK_END)
        return self._token_at(ids, end + len(_THINK_END)) - body_start if end >= 0 else None

    def _render(self, problem: str, fmt: ResponseFormat, budget: int | None) -> str:
        """Return the user's turn as text, as the chat template renders it; without a template, the bare problem."""
        instruction = fmt.instruction.replace(BUDGET_SLOT, str(budget))
        content = f"{problem}\n\n{instruction}" if instruction else problem
        if not self.tokenizer.chat_template:
            return f"{content}\n\n"
        messages = [{"role": "user", "content": content}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


_BUDGET_FIELD_WINDOW = 24
"""Number of tokens at the start of a response that certainly include a budget tag and its number."""
