"""Response formats: what a model is asked to write, and how its text is read. Pure text, no tokens.

`BudgetFormat` is SelfBudgeter's (arXiv 2505.11274): `<budget>b</budget><solution>...</solution>`.
What the paper leaves open is our choice: blanks around the number and around the tags are
allowed, b = 0 and anything else outside the two tags are malformed. `PromptBudgetFormat` asks for a
number of tokens in the prompt, as L1 does (arXiv 2503.04697). `DifficultyFormat` is AdaCtrl's
(arXiv 2505.18822): the response begins with a tag that calls the problem easy or hard.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class Parsed:
    """How a text reads in a format. `body_start:body_end` are the characters whose tokens are counted."""

    well_formed: bool
    budget: int | None
    body_start: int
    body_end: int
    easy: bool | None = None
    """The difficulty tag, where the format has one and it was written."""

    def body(self, text: str) -> str:
        """The part of `text` that holds the reasoning and the answer."""
        return text[self.body_start : self.body_end]


class ResponseFormat(Protocol):
    """One way to lay out a response."""

    @property
    def name(self) -> str: ...

    taught: ClassVar[bool]
    """Whether a model has to be taught to write it, by a cold start."""
    budget_in: ClassVar[str | None]
    """Where a budget stands: in the response, in the prompt, or nowhere (None)."""

    def parse(self, text: str) -> Parsed:
        """Read a finished completion, the end token taken off."""
        ...


@dataclass(frozen=True)
class PlainFormat:
    """No tags: the whole text is the body. What a model writes before the cold start."""

    name: str = "plain"
    taught: ClassVar[bool] = False
    budget_in: ClassVar[str | None] = None

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
    taught: ClassVar[bool] = True
    budget_in: ClassVar[str | None] = "response"

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


@dataclass(frozen=True)
class PromptBudgetFormat:
    """No tags; the prompt asks for a number of tokens."""

    name: str = "prompt_budget"
    taught: ClassVar[bool] = False
    budget_in: ClassVar[str | None] = "prompt"

    def parse(self, text: str) -> Parsed:
        return PlainFormat().parse(text)


@dataclass(frozen=True)
class DifficultyFormat:
    """A tag that calls the problem easy or hard, then the body. A response without a tag is malformed.

    >>> DifficultyFormat().parse("[Easy] 2+3=5").easy
    True
    """

    easy_tag: str = "[Easy]"
    hard_tag: str = "[Hard]"
    name: str = "difficulty"
    taught: ClassVar[bool] = True
    budget_in: ClassVar[str | None] = None

    def tag(self, easy: bool) -> str:
        """The text that a response to an easy or a hard problem begins with."""
        return self.easy_tag if easy else self.hard_tag

    def parse(self, text: str) -> Parsed:
        head = re.match(rf"\s*(?:({re.escape(self.easy_tag)})|{re.escape(self.hard_tag)})", text)
        start = head.end() if head else 0
        easy = head.group(1) is not None if head else None
        return Parsed(bool(head and text[start:].strip()), None, start, len(text), easy)


EASY_ABOVE = 0.625
"""AdaCtrl calls a problem easy if more than this share of its group is right (its published code)."""

FORMATS: dict[str, ResponseFormat] = {
    fmt.name: fmt for fmt in (PlainFormat(), BudgetFormat(), PromptBudgetFormat(), DifficultyFormat())
}

AUTO = "auto"
FORMAT_NAMES = (AUTO, *FORMATS)
"""What a stage may be told: a format, or auto for the one that the reward reads (plain, if it reads none)."""
