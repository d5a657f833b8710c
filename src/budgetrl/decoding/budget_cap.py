"""`budget_cap`: stop a response at a multiple of the budget that it announced."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require, require_range
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Piece, Program, Start, force_answer
from budgetrl.decoding.sampling import PlainSampling

HEAD_TOKENS = 24
"""Number of tokens at the start of a response that certainly include its budget and the opening of its body."""


@dataclass(frozen=True)
class BudgetCap(DecodingMethod):
    """A hard stop for models trained with SelfBudgeter. This method is ours, not the paper's.

    The body of a response may have `multiple` times the budget that the response announces or was given. At that length
    the format's `answer_prefix` is inserted, and up to `answer` more tokens are sampled. A response without a budget is
    sampled as usual.
    """

    name: str = "budget_cap"
    multiple: float = 1.0
    """Maximum length of the body, as a multiple of the budget."""
    answer: int = 32
    """Maximum number of tokens after a forced close."""
    closed_is_truncated: bool = False
    """Whether an answer after a forced close counts as truncated, and therefore as wrong."""

    is_on_policy = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.multiple > 0, "multiple", f"must be above 0, got {self.multiple}")
        require_range(self, 1, math.inf, "answer")

    def program(self, start: Start) -> Program:
        """See `DecodingMethod.program`."""
        if start.fmt.budget_in != "response":
            return (yield from PlainSampling().program(start))

        # Sample up to the opening of the body, such as `<solution>`. The budget stands before it.
        head_tokens = min(HEAD_TOKENS, start.max_new_tokens)
        [head] = yield [Continue(start.root, head_tokens, stop_strings=(start.fmt.body_opening,))]
        left = start.max_new_tokens - head.position
        if head.ended or left == 0:
            return Answer(head, "stop" if head.ended else "length")

        # Sample the body up to the cap, or up to the stage's limit if that is lower.
        budget = self._budget(start, head)
        cap = left if budget is None else min(left, max(1, round(self.multiple * budget)))
        [body] = yield [Continue(head, cap)]
        if body.finish_reason == "stop" or cap == left:
            return Answer(body, body.finish_reason)

        # The body reached the cap: force the answer.
        return (yield from force_answer(start, body, self.answer, self.closed_is_truncated))

    def _budget(self, start: Start, head: Piece) -> int | None:
        """Return the budget that the response announces before its body, or None without one."""
        if head.finish_reason != "stop":  # the body did not open within HEAD_TOKENS
            return None
        text = start.text(head)
        span = start.fmt.budget_span(text)
        return int(text[slice(*span)]) if span else None
