"""`two_budgets`: separate budgets for thinking and answer (Elastic Reasoning)."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Program, Start, force_answer


@dataclass(frozen=True)
class TwoBudgets(DecodingMethod):
    """The budgets of Elastic Reasoning (arXiv 2505.05315): `thinking` tokens at most, then `answer` tokens at most.

    Unfinished thinking is closed by inserting `</think>`, or the format's `answer_prefix` if the response does not use
    tags. The paper trains with 1024 for both and a reward for correctness only. It does not say whether inserted tokens
    are trained on; here they never are.
    """

    name: str = "two_budgets"
    thinking: int = 1024
    """Maximum number of thinking tokens."""
    answer: int = 1024
    """Maximum number of tokens after the thinking."""
    closed_is_truncated: bool = False
    """Whether an answer after a forced close counts as truncated, and therefore as wrong."""

    is_on_policy = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, math.inf, "thinking", "answer")

    def program(self, start: Start) -> Program:
        """See `DecodingMethod.program`."""
        # Without tags, the thinking is over once the response writes the start of its answer.
        thinks = start.is_thinking(start.root)
        markers = (start.fmt.close,) if thinks else (start.fmt.close, start.fmt.answer_prefix)
        stops = tuple(marker for marker in markers if marker)
        [thought] = yield [Continue(start.root, self.thinking, stop_strings=stops)]
        if thought.ended:  # the whole answer fit into the thinking budget
            return Answer(thought, "stop")
        if thought.finish_reason == "stop":  # the model closed its thinking itself
            [answer] = yield [Continue(thought, self.answer)]
            return Answer(answer, answer.finish_reason)

        # The thinking budget is used up: force the answer.
        return (yield from force_answer(start, thought, self.answer, self.closed_is_truncated))

    def errors(self, max_new_tokens: int) -> list[Message]:
        """See `DecodingMethod.errors`."""
        if self.thinking + self.answer <= max_new_tokens:
            return []
        sizes = f"{self.thinking} plus decoding.answer={self.answer}"
        text = f"{sizes} is more than the stage's max_new_tokens={max_new_tokens}"
        return [Message("thinking", text, "lower one of them, or raise the stage's max_new_tokens")]
