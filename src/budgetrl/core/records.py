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
    """Most tokens to draw; forced tokens do not count."""
    temperature: float = 1.0
    """0 is greedy."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a completion; the one drawn is kept as its last token."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end a completion; the token that completes one is kept as its last token."""
    min_tokens: int = 0
    """No token of `stop_ids` is drawn before so many others."""
    top_k: int = 0
    """Draw from the k most likely tokens alone; 0 for all."""
    top_p: float = 1.0
    """Draw from the most likely tokens that together have this probability."""
    min_p: float = 0.0
    """Draw from the tokens that have this share of the most likely token's probability."""
    repetition_penalty: float = 1.0
    """Divides positive logits, and multiplies negative ones, of tokens that the sequence holds already (CTRL)."""

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn from the model's own distribution at this temperature."""
        return not self.top_k and self.top_p >= 1 and self.min_p <= 0 and self.repetition_penalty == 1


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked for: one completion."""

    prompt_ids: tuple[int, ...]
    """All tokens that the model is given, a pre-filled part of the response included."""
    seed: int
    sampling: Sampling
    forced_ids: tuple[int, ...] = ()
    """Tokens that the completion begins with whatever the model would draw."""
    position: int = 0
    """How many tokens of the answer come before: the draw of token t has the number `position + t`."""
    intervention: object = None
    """What acts inside the steps, a `budgetrl.rollout.interventions.Intervention`; None for nothing."""


FinishReason = Literal["stop", "length", "forced_close", "aborted"]
"""Why a completion ended: with an end token or a stop string, at the token limit, after a decoding method closed its
reasoning, or because it was given up."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the policy generated for one request."""

    token_ids: tuple[int, ...]
    """Tokens generated, the end token included; pre-filled tokens are not among them."""
    logprobs: tuple[float, ...]
    """Log-probability of each generated token under the distribution it was drawn from (temperature applied); 0 for a
    forced token."""
    finish_reason: FinishReason
    version: int = 0
    """The version of the weights that generated it: how many optimizer steps they had taken."""
    forced: frozenset[int] = frozenset()
    """Positions of the tokens that a decoding method inserted, which the policy did not draw."""
    is_truncated: bool = False
    """Whether a forced close counts as being cut off."""
    tokens_discarded: int = 0
    """Tokens, drawn or forced, that the decoding method threw away."""
    tokens_read: int = 0
    """Tokens of prompt and answer that were computed again."""

    @property
    def finished(self) -> bool:
        """Whether it came to an end, rather than being cut off."""
        if self.finish_reason == "forced_close":
            return not self.is_truncated
        return self.finish_reason == "stop"

    @property
    def sampled_logprobs(self) -> tuple[float, ...]:
        """Log-probabilities of the tokens that the policy drew."""
        if not self.forced:
            return self.logprobs
        return tuple(value for position, value in enumerate(self.logprobs) if position not in self.forced)

    @property
    def tokens_spent(self) -> int:
        """All tokens that it cost: drawn, forced and discarded."""
        return len(self.token_ids) + self.tokens_discarded


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
    tokens_spent: int | None = None
    """All tokens that the response cost: sampled, forced and discarded ones, tags and the end token. None if unknown."""
    tokens_read: int = 0
    """Tokens of prompt and response that had to be computed again."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence. Subclasses add what their objective needs, such as advantages."""

    prompt_ids: tuple[int, ...]
    """Tokens without loss. At least one, since the first response token is predicted from the token before it."""
    response_ids: tuple[int, ...]
    """Tokens with loss, except those at the positions in `forced`."""
    weights: tuple[float, ...] | None = None
    """Loss weight of each learned token. None: 1 for all."""
    forced: frozenset[int] = frozenset()
    """Positions of response tokens that the policy did not sample. They have no loss, log-probability or weight."""

    @property
    def size(self) -> int:
        """Number of prompt and response tokens."""
        return len(self.prompt_ids) + len(self.response_ids)

    @property
    def learned_tokens(self) -> int:
        """Number of response tokens with loss."""
        return len(self.response_ids) - len(self.forced)

    @property
    def token_weights(self) -> tuple[float, ...]:
        """The loss weight of each learned token."""
        return self.weights or (1.0,) * self.learned_tokens
