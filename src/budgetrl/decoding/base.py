"""The base class of decoding methods: programs that make one answer out of any number of requests.

A program is a Python generator. It yields a list of requests and receives their results, called pieces:

    def program(self, start):
        [thought] = yield [Continue(start.root, max_tokens=500, stop_strings=("</think>",))]
        [answer] = yield [Continue(thought, max_tokens=100)]
        return Answer(answer, answer.finish_reason)

Pieces form a tree, because a request can continue any earlier piece. Continuing the last piece extends the answer,
continuing an earlier one rolls back, and several requests after the same piece fork. The answer is the path from the
root to the piece that the program returns. All other tokens are discarded, but counted.

Programs know nothing about engines, models or torch. The programs of all problems run concurrently.
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


# Pieces are compared by identity, as nodes of a tree. Engines keep caches by weak reference to a piece.
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Piece:
    """A part of an answer: the result of one request."""

    parent: "Piece | None" = None
    """The piece that it continues. None for the root, which has no tokens."""
    token_ids: tuple[int, ...] = ()
    """The piece's own tokens: the forced ones of its request, then the sampled ones."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the distribution that it was sampled from. 0 for a forced token."""
    forced: int = 0
    """Number of forced tokens at its start."""
    finish_reason: FinishReason = "stop"
    """`stop` for an end token or a stop string, `length` at the token limit."""
    ended: bool = False
    """Whether its last token is an end token, so that the answer is over."""
    position: int = 0
    """Number of tokens of the answer up to and including this piece."""

    def path(self) -> list["Piece"]:
        """Return the pieces of the answer from the first to this one, without the root."""
        pieces: list[Piece] = []
        piece = self
        while piece.parent is not None:
            pieces.append(piece)
            piece = piece.parent
        return pieces[::-1]

    def answer_ids(self) -> tuple[int, ...]:
        """Return all tokens of the answer up to and including this piece."""
        ids: list[int] = []
        for piece in self.path():
            ids += piece.token_ids
        return tuple(ids)


@dataclass(frozen=True, slots=True)
class Continue:
    """A request to continue a piece until an end token, a stop string, or a number of tokens."""

    after: Piece
    """The piece to continue."""
    max_tokens: int
    """Maximum number of tokens to sample."""
    forced_ids: tuple[int, ...] = ()
    """Tokens to insert first. They are not sampled and do not count toward `max_tokens`."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end the piece. The token that completes one is its last token."""
    min_tokens: int = 0
    """Minimum number of tokens in the piece before an end token can be sampled."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end the piece, besides the end tokens."""
    branch: int = 0
    """Number of the random stream. Forks need different numbers, or they would sample with the same random numbers."""
    intervene: bool = False
    """Whether to apply the method's intervention."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program returns. The answer is the path from the root to a piece."""

    piece: Piece
    """The last piece of the answer."""
    finish_reason: FinishReason
    is_truncated: bool = False
    """Whether an answer with finish reason `forced_close` counts as truncated."""


Program = Generator[Sequence[Continue], Sequence[Piece], Answer]


class Tokenizer(Protocol):
    """Converts between text and token ids."""

    def encode(self, text: str) -> tuple[int, ...]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Start:
    """The input of a program."""

    fmt: ResponseFormat
    """The format of the response, which defines the markers such as `close` and `answer_prefix`."""
    tokenizer: Tokenizer
    max_new_tokens: int
    """Maximum number of tokens to sample for the answer, set by the stage."""
    prefix: str = ""
    """The pre-filled start of the response, such as the chat template's `<think>` or a budget."""
    root: Piece = field(default_factory=Piece)
    """The empty piece at which the answer starts."""

    def text(self, piece: Piece) -> str:
        """Return the text of the response up to and including a piece, with the pre-filled start."""
        return self.prefix + self.tokenizer.decode(piece.answer_ids())

    def is_thinking(self, piece: Piece) -> bool:
        """Whether the response has an open `<think>` tag."""
        text = self.text(piece)
        return "<think>" in text and self.fmt.close not in text

    def answer_cue(self, piece: Piece) -> str:
        """Return the text to insert so that the model writes its answer next.

        It is the format's `close` inside an open `<think>` tag, else its `answer_prefix`.
        """
        if self.fmt.close and self.is_thinking(piece):
            return self.fmt.close
        return self.fmt.answer_prefix


def force_answer(start: Start, after: Piece, max_tokens: int, closed_is_truncated: bool) -> Program:
    """Insert the text after which the model writes its answer, and sample up to `max_tokens` more tokens.

    The inserted tokens count toward the stage's limit: if there is no room for a token after them, nothing is inserted.
    """
    close = start.tokenizer.encode(start.answer_cue(after))
    room = start.max_new_tokens - after.position - len(close)
    if room < 1:
        return Answer(after, "length")
    [answer] = yield [Continue(after, min(max_tokens, room), forced_ids=close)]
    if answer.finish_reason == "length":
        return Answer(answer, "length")
    return Answer(answer, "forced_close", closed_is_truncated)


@dataclass(frozen=True)
class DecodingMethod(ABC):
    """How an answer is generated and its tokens sampled. Each subclass is one method; its fields are its settings."""

    name: str = ""
    """The module in budgetrl.decoding, or the import path of your own class."""
    min_tokens: int = 0
    """Minimum number of tokens before an end token can be sampled."""
    top_k: int = 0
    """Sample only from the k most likely tokens. 0: from all tokens."""
    top_p: float = 1.0
    """Sample only from the smallest set of most likely tokens with at least this total probability."""
    min_p: float = 0.0
    """Sample only from tokens with at least this fraction of the most likely token's probability."""
    repetition_penalty: float = 1.0
    """Penalty on tokens already in the prompt or the response: divides positive logits, and multiplies negative ones
    (CTRL, arXiv 1909.05858). 1: no penalty."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end the answer, as an end token does."""

    # Class variables, because they describe the method and cannot be configured.
    is_one_request: ClassVar[bool] = False
    """Whether the answer is the result of a single request, so that engines need not run the program."""
    is_on_policy: ClassVar[bool] = False
    """Whether every token that is not forced is sampled from the policy, and no answer is chosen among several.

    Only completions of such methods can be trained on.
    """
    intervention: ClassVar[str | None] = None
    """Import path of a `budgetrl.rollout.interventions.Intervention`, or None. It is created with these settings, the
    codec and the model, and applies to requests with `intervene=True`."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "min_tokens", "top_k")
        require(0 < self.top_p <= 1, "top_p", f"must be above 0 and at most 1, got {self.top_p}")
        require_range(self, 0, 1, "min_p")
        require(self.repetition_penalty > 0, "repetition_penalty", f"must be above 0, got {self.repetition_penalty}")
        require(
            "" not in self.stop_strings, "stop_strings", "an empty string would end every answer immediately; remove it"
        )

    @abstractmethod
    def program(self, start: Start) -> Program:
        """Return a new program, which makes one answer."""

    def errors(self, max_new_tokens: int) -> list[Message]:
        """Return errors of these settings in a stage with this `max_new_tokens`. Keys are relative to `decoding`."""
        return []

    def required_capabilities(self) -> list[str]:
        """Return the names of the `Capabilities` that an engine needs for these settings."""
        names: list[str] = []
        if self.intervention:
            names.append("interventions")
        if not self.is_one_request:
            names.append("token_ids")  # an answer's text may not be tokenized to the same ids when it is sent again
        if not self.is_one_request or any(self._differs(name) for name in _ENGINE_SETTINGS):
            names.append("sampling_options")
        return names

    def training_errors(self) -> list[Message]:
        """Return an error for each setting that does not work in training.

        The policy gradient assumes that tokens are sampled from the model's own distribution, which these settings
        change.
        """
        errors: list[Message] = []
        for name in _DISTRIBUTION_SETTINGS:
            if self._differs(name):
                text = "tokens would be sampled from a different distribution than the one being trained"
                errors.append(Message(name, text, f"leave decoding.{name} at its default in training"))
        if not self.is_on_policy or self.intervention:
            text = f"{self.name} does not say that it samples every token from the policy being trained"
            errors.append(Message("name", text, "use decoding=sampling in training"))
        return errors

    def _differs(self, name: str) -> bool:
        """Return whether one of the settings above is not at its default."""
        defaults = {option.name: option.default for option in fields(DecodingMethod)}
        return getattr(self, name) != defaults[name]


# Without `stop_strings`: they change where an answer ends, not how likely each of its tokens is.
_DISTRIBUTION_SETTINGS = ("min_tokens", "top_k", "top_p", "min_p", "repetition_penalty")
# Settings that some servers do not accept.
_ENGINE_SETTINGS = ("min_tokens", "top_k", "min_p", "repetition_penalty", "stop_strings")
