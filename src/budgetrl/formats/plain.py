"""Plain text: what a model writes before any cold start."""

from dataclasses import dataclass

from budgetrl.formats.base import Parsed, ResponseFormat


@dataclass(frozen=True)
class PlainFormat(ResponseFormat):
    """No tags: the whole text is the body. Only an empty response is malformed.

    >>> PlainFormat().parse("2+3=5").body("2+3=5")
    '2+3=5'
    """

    name: str = "plain"

    def parse(self, text: str) -> Parsed:
        return Parsed(bool(text.strip()), None, 0, len(text))
