"""Response formats: what a model is asked to write, and how its text is read. Pure text, no tokens.

`BudgetFormat` is SelfBudgeter's (arXiv 2505.11274): `<budget>b</budget><solution>...</solution>`.
What the paper leaves open is our choice: blanks around the number and around the tags are
allowed, b = 0 and anything else outside the two tags are malformed.
"""

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Parsed:
    """How a text reads in a format. `body_start:body_end` are the characters whose tokens are counted."""

    well_formed: bool
    budget: int | None
    body_start: int
    body_end: int

    def body(self, text: str) -> str:
        """The part of `text` that holds the reasoning and the answer."""
        return text[self.body_start : self.body_end]


class ResponseFormat(Protocol):
    """One way to lay out a response."""

    @property
    def name(self) -> str: ...

    def parse(self, text: str) -> Parsed:
        """Read a finished completion, the end token taken off."""
        ...


@dataclass(frozen=True)
class PlainFormat:
    """No tags: the whole text is the body. What a model writes before the cold start."""

    name: str = "plain"

    def parse(self, text: str) -> Parsed:
        return Parsed(bool(text.strip()), None, 0, len(text))


_BUDGET = re.compile(r"\s*<budget>\s*([0-9]{1,9})\s*</budget>\s*<solution>")
_CLOSE = re.compile(r"</solution>\s*\Z")
_TAGS = re.compile(r"</?(?:budget|solution)>")


@dataclass(frozen=True)
class BudgetFormat:
    """`<budget>b</budget><solution>body</solution>`, exactly once each, in this order.

    >>> BudgetFormat().parse("<budget>12</budget><solution>2+3=5</solution>").budget
    12
    >>> BudgetFormat().parse("<budget>0</budget><solution>x</solution>").well_formed
    False
    """

    name: str = "budget"

    def render(self, budget: int, body: str) -> str:
        """The full response text, as the cold start teaches it."""
        return f"{self.prefill(budget)}<solution>{body}</solution>"

    def prefill(self, budget: int) -> str:
        """The text a user's budget puts at the start of the response."""
        if budget < 1:
            raise ValueError(f"a budget must be a positive number of tokens, got {budget}")
        return f"<budget>{budget}</budget>"

    def parse(self, text: str) -> Parsed:
        """A malformed text still has a body, so that its answer can be graded and its length counted."""
        head = _BUDGET.match(text)
        close = _CLOSE.search(text)
        budget = int(head.group(1)) if head else None
        start = head.end() if head else 0
        end = close.start() if close else len(text)
        well_formed = bool(head and close and budget and start <= end) and not _TAGS.search(text, start, end)
        return Parsed(well_formed, budget, start, max(start, end))


FORMATS: dict[str, ResponseFormat] = {"plain": PlainFormat(), "budget": BudgetFormat()}
