"""`two_budgets`: a budget for the thinking and one for the answer (Elastic Reasoning)."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Program, Start


@dataclass(frozen=True)
class TwoBudgets(DecodingMethod):
    """Elastic Reasoning's budgets (arXiv 2505.05315): at most `thinking` tokens of reasoning, then at most `answer` more.

    Reasoning that has not come to its end by then is closed: `</think>` is inserted where the response thinks in tags,
    the format's `answer_prefix` elsewhere. Published training uses 1024 for both, with a reward for correctness alone.
    Whether the inserted tokens are learned from is left open there; here they never are.
    """

    name: str = "two_budgets"
    thinking: int = 1024
    """Most tokens of reasoning."""
    answer: int = 1024
    """Most tokens after it."""
    closed_is_truncated: bool = False
    """Whether an answer after a forced close counts as cut off, and therefore as wrong."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, math.inf, "thinking", "answer")

    def program(self, start: Start) -> Program:
        # A response outside of tags has come to its answer by itself once it writes the answer's start.
        thinks = start.is_thinking(start.root)
        markers = (start.fmt.close,) if thinks else (start.fmt.close, start.fmt.answer_prefix)
        stops = tuple(marker for marker in markers if marker)
        [thought] = yield [Continue(start.root, self.thinking, stop_strings=stops, min_tokens=self.min_tokens)]
        if thought.ended:
            return Answer(thought, "stop")
        if thought.finish_reason == "stop":
            [answer] = yield [Continue(thought, self.answer)]
            return Answer(answer, answer.finish_reason)
        close = start.tokenizer.encode(start.answer_cue(thought))
        [answer] = yield [Continue(thought, self.answer, forced_ids=close)]
        if answer.finish_reason == "length":
            return Answer(answer, "length")
        return Answer(answer, "forced_close", self.closed_is_truncated)

    def errors(self, max_new_tokens: int) -> list[Message]:
        together = self.thinking + self.answer
        if together <= max_new_tokens:
            return []
        text = (
            f"{self.thinking} and decoding.answer={self.answer} are more than the {max_new_tokens} tokens of an answer"
        )
        return [Message("thinking", text, "lower them, or raise the stage's max_new_tokens")]
