"""Small frozen records that all packages pass around. They never hold tensors."""

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
    """Difficulty, larger is harder. None if the source does not say."""
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
    """The graded result of one completion: all that rewards and metrics see of it."""

    well_formed: bool
    correct: bool
    """Whether the answer is right. Always False for a truncated completion: its last number is not an answer."""
    length: int
    """Length l in tokens."""
    budget: int | None = None
    """Budget b in tokens, written by the model or given to it. None without one."""
    b_max: float = math.inf
    """Reference length of the problem in tokens. Infinite if the initial model was wrong."""
    thinking_length: int | None = None
    """Tokens up to the end of the `<think>` block. None without one."""
    truncated: bool = False
    easy: bool | None = None
    """Difficulty tag written by the model: True for easy, False for hard, None without one."""
    repetition: float = 0.0
    """Fraction of the body's n-grams that repeat an earlier one. 0 unless a reward needs it."""
    level: int | None = None
    problem_id: str = ""
    given_answer: str | None = None
    """The answer as written in the response, counted by maj@k. None if none was found."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence. Subclasses add what their objective needs, such as advantages."""

    prompt_ids: tuple[int, ...]
    """Tokens without loss. At least one, since the first response token is predicted from the token before it."""
    response_ids: tuple[int, ...]
    """Tokens with loss."""
    weights: tuple[float, ...] | None = None
    """Loss weight of each response token. None: 1 for all."""

    @property
    def size(self) -> int:
        """Number of prompt and response tokens."""
        return len(self.prompt_ids) + len(self.response_ids)

    @property
    def token_weights(self) -> tuple[float, ...]:
        """The loss weight of each response token."""
        return self.weights or (1.0,) * len(self.response_ids)
