"""Between text and tokens: prompts, pre-filled budgets, fine-tuning targets, and reading what was written.

Tags are found in decoded text, never by token id: no tag is one token in a real tokenizer, and
the last character of a tag can share a token with what follows it.
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
    """What the model is given: the user's turn, and the start of the response if that is given too."""

    ids: tuple[int, ...]
    prefix_ids: tuple[int, ...] = ()
    """Tokens of the response that the model does not write: a pre-filled budget, or a template's `<think>`."""

    @property
    def all_ids(self) -> tuple[int, ...]:
        return self.ids + self.prefix_ids


class TextCodec:
    """A tokenizer together with how its model is asked."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: ModelSettings, stop_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.spec = spec
        self.stop_ids = tuple(stop_ids)

    def prompt(self, problem: str, fmt: ResponseFormat, budget: int | None = None) -> Prompt:
        """The prompt of a problem in a format, with the user's budget pre-filled if there is one.

        A `<think>` that the chat template puts at the start of the response is kept as given text,
        and taken off in formats with a start of their own. ValueError for a budget in a format
        without one, and for none in a format that asks for one in the prompt.
        """
        if budget is None and fmt.budget_in == "prompt":
            raise ValueError(f"the {fmt.name} format needs a budget to ask for")
        if budget is not None and fmt.budget_in is None:
            raise ValueError(f"the {fmt.name} format has no budget to pre-fill")
        written = None if budget is None else self.writable(budget)
        text = self._render(problem, fmt, written)
        think = THINK_PREFILL.search(text)
        turn = text[: think.start()] if think else text
        given = fmt.prefill(written)
        if think and not fmt.starts_response:
            given = think.group() + given
        return Prompt(self._encode(turn, start=not self.tokenizer.chat_template), self._encode(given))

    def target(self, target: Target, body_ids: Sequence[int]) -> tuple[int, ...]:
        """The tokens of a response to learn, end token included. Each text around the body is encoded by itself, so
        that one that a user pre-fills has the tokens of training."""
        ids: list[int] = []
        for text in target.before:
            ids += self._encode(text)
        ids += body_ids
        for text in target.after:
            ids += self._encode(text)
        return (*ids, self.stop_ids[0])

    def written(self, text: str) -> str:
        """Return a text after encoding and decoding. It differs if the tokenizer lacks words or changes whitespace."""
        return self.decode(self._encode(text))

    def writable(self, tokens: int, at_least: bool = False) -> int:
        """The nearest budget that the tokenizer can write; `at_least`: the nearest that is not smaller."""
        return writable_budget(self.tokenizer, max(1, tokens), at_least)

    def tokenizer_to_save(self, fmt: ResponseFormat) -> PreTrainedTokenizerBase:
        """The tokenizer for a checkpoint that learned a format: by itself its chat template gives the prompts of
        `prompt`, without a `<think>` in formats with a start of their own."""
        begun = fmt.starts_response and THINK_PREFILL.search(self._render("", fmt, None))
        return rewrite_chat_template(self.tokenizer, without_think) if begun else self.tokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """Exact text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def read(self, response_ids: Sequence[int], fmt: ResponseFormat) -> ParsedResponse:
        """Read a whole response (pre-filled tokens first). An end token is taken off before counting."""
        ids = list(response_ids)
        if ids and ids[-1] in self.stop_ids:
            ids.pop()
        text = self.decode(ids)
        parsed = fmt.parse(text)
        start, end = self._token_at(ids, parsed.body_start), self._token_at(ids, parsed.body_end)
        length = len(ids) if self.spec.length == "response" else end - start
        return ParsedResponse(text, parsed, length, self._thinking_length(ids, text, start), tuple(ids[start:end]))

    def budget_field(self, response_ids: Sequence[int], fmt: ResponseFormat, prefilled: int = 0) -> range:
        """Positions of the tokens that decide the budget: its digits and the first token after them.

        Empty where the response does not begin with a budget, or the budget was pre-filled.
        """
        ids = response_ids[:_BUDGET_FIELD_WINDOW]
        span = None if prefilled else fmt.budget_span(self.decode(ids))
        if span is None:
            return range(0)
        first, last = (self._token_at(ids, position) for position in span)
        return range(first, min(last + 1, len(ids)))

    def _token_at(self, ids: Sequence[int], position: int) -> int:
        """Index of the first token that begins at or after a character position of the decoded text.

        A character may take several tokens, such as an emoji; the later ones begin no character.
        """
        if position == 0:
            return 0

        def end(count: int) -> int:
            return len(self.decode(ids[:count]))

        beyond = bisect_right(range(len(ids) + 1), position, key=end)
        return beyond - 1 if end(beyond - 1) == position else beyond

    def _thinking_length(self, ids: Sequence[int], text: str, body_start: int) -> int | None:
        end = text.find(_THINK_END)
        return self._token_at(ids, end + len(_THINK_END)) - body_start if end >= 0 else None

    def _render(self, problem: str, fmt: ResponseFormat, budget: int | None) -> str:
        wish = fmt.instruction.replace(BUDGET_SLOT, str(budget))
        content = f"{problem}\n\n{wish}" if wish else problem
        if not self.tokenizer.chat_template:
            return f"{content}\n\n"
        messages = [{"role": "user", "content": content}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _encode(self, text: str, start: bool = False) -> tuple[int, ...]:
        """Tokens of a text. `start` lets a tokenizer without a template add its begin token; a template has
        written its own."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=start)) if text else ()


_BUDGET_FIELD_WINDOW = 24
"""Tokens that surely hold a budget tag and its number."""
