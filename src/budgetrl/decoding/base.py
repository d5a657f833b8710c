"""What every decoding method is: a program that makes one answer out of any number of requests.

A program is a Python generator. It yields the requests that it wants answered next, and is sent what came of them:

    def program(self, start):
        [thought] = yield [Continue(start.root, max_tokens=500, stop_strings=("</think>",))]
        [answer] = yield [Continue(thought, max_tokens=100)]
        return Answer(answer, answer.finish_reason)

Pieces form a tree. A request goes on from any piece, so that going on from the last one keeps it, going on from an
earlier one rolls back to it, and several requests after one piece fork it. The answer is the path to the piece that
the program returns; every other token was spent for nothing, and is counted.

Programs do not know engines, models or torch. All programs of all problems run side by side.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Protocol

from budgetrl.core.checks import require, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import FinishReason
from budgetrl.formats.base import ResponseFormat


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Piece:
    """A part of an answer: what one request came to."""

    parent: "Piece | None" = None
    """The piece that it goes on from; None for the root, which holds no tokens."""
    token_ids: tuple[int, ...] = ()
    """Its own tokens: the forced ones of its request, then those that were drawn."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the distribution it was drawn from; 0 for a forced token."""
    forced: int = 0
    """How many of its tokens were forced."""
    finish_reason: FinishReason = "stop"
    """stop (an end token or a stop string) or length."""
    ended: bool = False
    """Whether its last token is an end token: there is nothing to go on with."""
    position: int = 0
    """Tokens of the answer up to and with this piece."""

    def path(self) -> list["Piece"]:
        """The pieces of the answer up to and with this one, the root aside."""
        pieces: list[Piece] = []
        piece = self
        while piece.parent is not None:
            pieces.append(piece)
            piece = piece.parent
        return pieces[::-1]

    def answer_ids(self) -> tuple[int, ...]:
        """All tokens of the answer up to and with this piece."""
        ids: list[int] = []
        for piece in self.path():
            ids += piece.token_ids
        return tuple(ids)


@dataclass(frozen=True, slots=True)
class Continue:
    """A request: go on after a piece, until an end token, a stop string or a number of tokens."""

    after: Piece
    max_tokens: int
    """Most tokens to draw."""
    forced_ids: tuple[int, ...] = ()
    """Tokens to insert first. They are not drawn, and do not count in `max_tokens`."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end the piece; the token that completes one is its last."""
    min_tokens: int = 0
    """No end token is drawn before so many tokens of the piece."""
    branch: int = 0
    """Pieces with the same position and branch get the same random draws; give forks numbers of their own."""
    intervene: bool = False
    """Whether the method's intervention acts on the steps."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program returns: the path to a piece is the answer."""

    piece: Piece
    finish_reason: FinishReason
    is_truncated: bool = False
    """Whether a forced close counts as being cut off."""


Program = Generator[Sequence[Continue], Sequence[Piece], Answer]


class Tokenizer(Protocol):
    """Between text and tokens."""

    def encode(self, text: str) -> tuple[int, ...]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Start:
    """What a program is given about the answer that it is to make."""

    fmt: ResponseFormat
    """The format that the response is asked for in; it has the markers."""
    tokenizer: Tokenizer
    max_new_tokens: int
    """Most tokens to draw for the answer, as the stage says."""
    prefix: str = ""
    """The start of the response that the model was given, such as a template's `<think>` or a budget."""
    root: Piece = field(default_factory=Piece)
    """The empty piece that the answer begins after."""

    def text(self, piece: Piece) -> str:
        """The response up to and with a piece, the given start included."""
        return self.prefix + self.tokenizer.decode(piece.answer_ids())

    def is_thinking(self, piece: Piece) -> bool:
        """Whether the response has begun to think in `<think>` tags, and has not closed them."""
        text = self.text(piece)
        return "<think>" in text and self.fmt.close not in text

    def answer_cue(self, piece: Piece) -> str:
        """The text after which a model writes its answer at once: the end of its thinking, if it thinks in tags, else
        the start of the answer."""
        if self.fmt.close and self.is_thinking(piece):
            return self.fmt.close
        return self.fmt.answer_prefix


@dataclass(frozen=True)
class DecodingMethod(ABC):
    """How an answer is made, and how its tokens are drawn. A subclass is one method; its fields are its settings."""

    name: str = ""
    """The module in budgetrl.decoding, or the import path of your own class."""
    min_tokens: int = 0
    """The answer does not end before so many tokens: end tokens cannot be drawn."""
    top_k: int = 0
    """Draw only from the k most likely tokens; 0: from all."""
    top_p: float = 1.0
    """Draw only from the most likely tokens that together have this probability."""
    min_p: float = 0.0
    """Draw only from tokens with at least this share of the most likely token's probability."""
    repetition_penalty: float = 1.0
    """Makes tokens that the prompt or the response already holds less likely: their logits are divided by it if
    positive, and multiplied by it if negative; 1: no penalty."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end the answer as an end token does."""

    is_one_request: ClassVar[bool] = False
    """Whether the answer is what one request draws, so that no program is needed."""
    requires: ClassVar[tuple[str, ...]] = ()
    """The `Capabilities` that an engine must have for the method."""
    intervention: ClassVar[str | None] = None
    """The import path of a `budgetrl.rollout.interventions.Intervention` that is made from these settings, the codec
    and the model. It acts on requests with `intervene=True`."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "min_tokens", "top_k")
        require(0 < self.top_p <= 1, "top_p", f"must be above 0 and at most 1, got {self.top_p}")
        require_range(self, 0, 1, "min_p")
        require(self.repetition_penalty > 0, "repetition_penalty", f"must be above 0, got {self.repetition_penalty}")
        require("" not in self.stop_strings, "stop_strings", "an empty text ends every answer at once; remove it")

    @abstractmethod
    def program(self, start: Start) -> Program:
        """Return the program of one answer."""

    def errors(self, max_new_tokens: int) -> list[Message]:
        """Return why it cannot work in a stage whose answers have up to `max_new_tokens`. Keys are the method's own."""
        return []

    def required_capabilities(self) -> list[str]:
        """Return the `Capabilities` that an engine must have, these settings considered."""
        return [*self.requires, *(["interventions"] if self.intervention else [])]

    def training_errors(self) -> list[Message]:
        """Return the settings with which completions cannot be trained on.

        The policy gradient is that of the distribution that the tokens were drawn from. With these settings it is not
        the model's own.
        """
        found: list[Message] = []
        for option in fields(DecodingMethod):
            if option.name in _CHANGES_DISTRIBUTION and getattr(self, option.name) != option.default:
                text = "tokens would be drawn from another distribution than the one that is trained"
                found.append(Message(option.name, text, f"set decoding.{option.name}={option.default} in training"))
        return found


_CHANGES_DISTRIBUTION = ("min_tokens", "top_k", "top_p", "min_p", "repetition_penalty")
