"""`budget_cap`: a response is stopped at a multiple of the budget that it announced."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require, require_range
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Piece, Program, Start
from budgetrl.decoding.sampling import PlainSampling

MAX_HEAD = 24
"""Tokens in which a response has announced its budget and opened its body, if it does so at all."""


@dataclass(frozen=True)
class BudgetCap(DecodingMethod):
    """A hard stop for SelfBudgeter's models (ours): what the response may take is `multiple` times the budget that it
    writes, or was given. There the answer is closed: the format's `answer_prefix` is inserted, and `answer` tokens are left.

    A response without a budget is sampled as usual.
    """

    name: str = "budget_cap"
    multiple: float = 1.0
    """Tokens of the body, as a multiple of the budget."""
    answer: int = 32
    """Most tokens after a forced close."""
    closed_is_truncated: bool = False
    """Whether an answer after a forced close counts as cut off, and therefore as wrong."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.multiple > 0, "multiple", f"must be above 0, got {self.multiple}")
        require_range(self, 1, math.inf, "answer")

    def program(self, start: Start) -> Program:
        if start.fmt.budget_in != "response":
            return (yield from PlainSampling(min_tokens=self.min_tokens).program(start))
        head_tokens = min(MAX_HEAD, start.max_new_tokens)
        [head] = yield [Continue(start.root, head_tokens, stop_strings=(start.fmt.body_opening,))]
        left = start.max_new_tokens - head.position
        if head.ended or left == 0:
            return Answer(head, "stop" if head.ended else "length")
        budget = self._budget(start, head)
        cap = left if budget is None else min(left, max(1, round(self.multiple * budget)))
        [body] = yield [Continue(head, cap, min_tokens=self.min_tokens)]
        if body.finish_reason == "stop" or cap == left:
            return Answer(body, body.finish_reason)
        close = start.tokenizer.encode(start.answer_cue(body))
        [answer] = yield [Continue(body, self.answer, forced_ids=close)]
        if answer.finish_reason == "length":
            return Answer(answer, "length")
        return Answer(answer, "forced_close", self.closed_is_truncated)

    def _budget(self, start: Start, head: Piece) -> int | None:
        """The budget that the response announces before its body, or None if that begins without one."""
        text = start.text(head)
        span = start.fmt.budget_span(text)
        return int(text[slice(*span)]) if span and head.finish_reason == "stop" else None
