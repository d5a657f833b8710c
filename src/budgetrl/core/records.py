"""The small frozen records that travel through the whole of budgetrl. No torch here."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer."""

    id: str
    problem: str
    answer: str
    level: int | None = None
    """Difficulty, larger is harder, where the source states one."""
    source: str | None = None
    solution: str | None = None
    """A worked solution from the source; never shown to the model."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of a completion are drawn, and where it ends."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a completion; the one drawn is kept as its last token."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked for: one completion."""

    prompt_ids: tuple[int, ...]
    """All tokens that the model is given, a pre-filled part of the response included."""
    seed: int
    sampling: Sampling


FinishReason = Literal["stop", "length", "aborted"]
"""Why a completion ended: with an end token, at the token limit, or because it was given up."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the policy generated for one request."""

    token_ids: tuple[int, ...]
    """Tokens generated, the end token included; pre-filled tokens are not among them."""
    logprobs: tuple[float, ...]
    """Log-probability of each generated token under the sampling distribution (temperature applied)."""
    finish_reason: FinishReason
    version: int = 0
    """The version of the weights that generated it: how many optimizer steps they had taken."""

    @property
    def finished(self) -> bool:
        """Whether it came to its own end, rather than being cut off."""
        return self.finish_reason == "stop"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a completion came to: all that rewards and metrics ever see."""

    well_formed: bool
    correct: bool
    """Whether it came to its end with the right answer: a number that a cut-off text happens to end with is none."""
    length: int
    """l, in tokens."""
    budget: int | None = None
    """b, in tokens, written by the model or asked of it; None where there is none."""
    b_max: float = math.inf
    """Reference length of the problem in tokens; infinite where the initial model was wrong."""
    thinking_length: int | None = None
    """Tokens up to the end of a `<think>` block, where there is one."""
    truncated: bool = False
    easy: bool | None = None
    """The difficulty tag that the model wrote: easy, hard, or None where there is none."""
    repetition: float = 0.0
    """Share of the body's n-grams that stood there before; 0 where no reward asked for it."""
    level: int | None = None
    problem_id: str = ""
    given_answer: str | None = None
    """The answer as the response writes it, to be counted by maj@k; None where none was found."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One sequence that an optimizer step learns from. What its objective needs besides, a subclass adds."""

    prompt_ids: tuple[int, ...]
    """Given: no loss is taken here. One token or more."""
    response_ids: tuple[int, ...]
    """To be learned from."""
    weights: tuple[float, ...] | None = None
    """Loss weight of each response token; None: 1 for all."""

    @property
    def size(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)

    @property
    def token_weights(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * len(self.response_ids)
