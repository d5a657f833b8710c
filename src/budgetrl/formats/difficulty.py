"""AdaCtrl's format (arXiv 2505.18822): the response begins with a tag that calls the problem easy or hard."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.errors import SettingError
from budgetrl.core.records import Outcome
from budgetrl.formats.base import Example, Explanation, Parsed, ResponseFormat, Target

EASY_ABOVE = 0.625
"""AdaCtrl calls a problem easy if more than this share of its group is right (its published code)."""


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
    """What a response to an easy problem begins with."""
    hard_tag: str = "[Hard]"
    """What a response to a hard problem begins with."""

    taught = True
    starts_response = True
    samples_to_teach = 8

    def __post_init__(self) -> None:
        for field in ("easy_tag", "hard_tag"):
            if not getattr(self, field).strip():
                raise SettingError(field, "must be a text, not blank")
        if self.easy_tag.strip() == self.hard_tag.strip():
            raise SettingError("hard_tag", f"{self.hard_tag!r} is the easy_tag too", "make them different")

    def parse(self, text: str) -> Parsed:
        head = re.match(rf"\s*(?:({re.escape(self.easy_tag)})|{re.escape(self.hard_tag)})", text)
        start = head.end() if head else 0
        easy = head.group(1) is not None if head else None
        return Parsed(bool(head and text[start:].strip()), None, start, len(text), easy)

    def select_for_teaching(self, group: Sequence[Outcome]) -> list[int]:
        """One right answer a problem: the shortest where the problem is easy, the longest where it is hard.

        This is ours, after AdaCtrl's mixture of short easy and long hard solutions.
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
    """Whether the model itself finds a problem easy."""
    right = sum(outcome.correct and outcome.well_formed for outcome in group)
    return right > EASY_ABOVE * len(group)
