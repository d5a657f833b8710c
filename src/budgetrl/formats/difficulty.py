"""AdaCtrl's format (arXiv 2505.18822): the response starts with a tag that calls the problem easy or hard."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.errors import SettingError
from budgetrl.core.records import Outcome
from budgetrl.formats.base import Example, Explanation, Parsed, ResponseFormat, Target

EASY_ABOVE = 0.625
"""A problem is easy if more than this share of its group is right. The value is from AdaCtrl's published code."""


@dataclass(frozen=True)
class DifficultyFormat(ResponseFormat):
    """A tag that calls the problem easy or hard, then the body. A response without a tag is malformed.

    >>> DifficultyFormat().parse("[Easy] 2+3=5").easy
    True
    """

    name: str = "difficulty"
    instruction: str = (
        "Please reason step by step, and put your final answer within \\boxed{}. First call the problem [Easy] or "
        "[Hard]; think briefly about an easy one."
    )
    easy_tag: str = "[Easy]"
    """First text of a response to an easy problem."""
    hard_tag: str = "[Hard]"
    """First text of a response to a hard problem."""

    taught = True
    starts_response = True
    samples_to_teach = 8

    def __post_init__(self) -> None:
        for field in ("easy_tag", "hard_tag"):
            if not getattr(self, field).strip():
                raise SettingError(field, "must not be blank")
        # Whitespace alone cannot distinguish tags: `a` also matches at the start of `a `.
        if self.easy_tag.strip() == self.hard_tag.strip():
            raise SettingError("hard_tag", f"{self.hard_tag!r} is the same as easy_tag", "use different tags")

    def parse(self, text: str) -> Parsed:
        # Tags are user settings, so special characters such as brackets must be escaped.
        head = re.match(rf"\s*(?:({re.escape(self.easy_tag)})|{re.escape(self.hard_tag)})", text)
        start = head.end() if head else 0
        easy = head.group(1) is not None if head else None  # group 1 is the easy tag
        return Parsed(bool(head and text[start:].strip()), None, start, len(text), easy)

    def select_for_teaching(self, group: Sequence[Outcome]) -> list[int]:
        """Return the index of one right answer: the shortest for an easy problem, the longest for a hard one.

        Ours, modeled on AdaCtrl's mixture of short solutions to easy problems and long solutions to hard ones.
        """
        right = super().select_for_teaching(group)
        if not right:
            return []
        choose = min if _is_easy(group) else max
        return [choose(right, key=lambda n: group[n].length)]

    def target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Target:
        return Target((self.easy_tag if _is_easy(group) else self.hard_tag,))

    def explain(self) -> Explanation:
        response = f"The response begins with `{self.easy_tag}` or `{self.hard_tag}`, before any thinking."
        return Explanation(response, self.easy_tag, "for a brief answer")

    def example(self, longest: int) -> Example:
        return Example(easy=True, note="every response tagged easy")


def _is_easy(group: Sequence[Outcome]) -> bool:
    """Return whether the model solves the problem often enough to call it easy."""
    right = sum(outcome.correct and outcome.well_formed for outcome in group)
    return right > EASY_ABOVE * len(group)
