"""SelfBudgeter's format (arXiv 2505.11274): the response starts with the number of tokens that it will use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.records import Outcome
from budgetrl.formats.base import Example, Explanation, Parsed, ResponseFormat, Target

# At most nine digits: a longer number is not a budget, and converting thousands of digits would raise an error.
# [0-9], since \d also matches digits of other scripts.
_HEAD = re.compile(r"\s*<budget>\s*([0-9]{1,9})\s*</budget>\s*<solution>")
# Only whitespace may follow the closing tag.
_CLOSE = re.compile(r"</solution>\s*\Z")
_TAGS = re.compile(r"</?(?:budget|solution)>")
# The closing tag is not required: only the number is needed, even if the response is malformed after it.
_NUMBER = re.compile(r"\s*<budget>(\s*\d+)")


@dataclass(frozen=True)
class BudgetFormat(ResponseFormat):
    """`<budget>b</budget><solution>body</solution>`, exactly once each, in this order.

    The paper leaves some details open. Our choices: whitespace is allowed around the number and the tags; a budget of
    0 and any other text outside the tags are malformed. The wording of the instruction is also ours.

    >>> BudgetFormat().parse("<budget>12</budget><solution>2+3=5</solution>").budget
    12
    >>> BudgetFormat().parse("<budget>0</budget><solution>x</solution>").well_formed
    False
    """

    name: str = "budget"
    instruction: str = (
        "Please reason step by step, and put your final answer within \\boxed{}. First write the number of tokens you "
        "will need as <budget>tokens</budget>, then your whole response as <solution>response</solution>."
    )
    close: str = "</solution>"

    taught = True
    budget_in = "response"
    starts_response = True
    body_opening = "<solution>"

    def parse(self, text: str) -> Parsed:
        head = _HEAD.match(text)  # anchored at the start: no text may come before the budget
        close = _CLOSE.search(text)
        budget = int(head.group(1)) if head else None
        start = head.end() if head else 0
        end = close.start() if close else len(text)
        # `and budget` rejects a budget of 0. `start <= end` rejects a closing tag that comes before the body.
        has_all_tags = bool(head and close and budget and start <= end)
        well_formed = has_all_tags and not _TAGS.search(text, start, end)  # no tag inside the body
        return Parsed(well_formed, budget, start, max(start, end))

    def prefill(self, budget: int | None) -> str:
        """Return `<budget>b</budget>`, or nothing without a budget.

        Raises:
            ValueError: if the budget is below 1.
        """
        if budget is None:
            return ""
        if budget < 1:
            raise ValueError(f"a budget must be a positive number of tokens, got {budget}")
        return f"<budget>{budget}</budget>"

    def budget_span(self, start: str) -> tuple[int, int] | None:
        number = _NUMBER.match(start)
        return number.span(1) if number else None

    def target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Target:
        """Return the tags as separate texts, so that a pre-filled budget has the same tokens as in training."""
        return Target((self.prefill(budget), "<solution>"), ("</solution>",))

    def explain(self) -> Explanation:
        response = (
            "The response is `<budget>b</budget><solution>...</solution>`: the budget comes before any thinking.\n"
            "To set the length yourself, start the response with `<budget>b</budget>`, b in tokens."
        )
        return Explanation(response, self.prefill(200), "to set the budget yourself")

    def example(self, longest: int) -> Example:
        budget = longest // 2
        return Example(budget=budget, note=f"budget {budget:,} tokens")
