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
    """How the tokens of a completion are sampled, and where it ends."""

    max_new_tokens: int
    """Maximum number of tokens to sample. Forced tokens do not count."""
    temperature: float = 1.0
    """0 means greedy decoding."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a completion. The completion includes the one that ended it."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end a completion. The token that completes one is its last token."""
    min_tokens: int = 0
    """Minimum number of tokens before one of `stop_ids` can be sampled."""
    top_k: int = 0
    """Sample only from the k most likely tokens. 0: from all tokens."""
    top_p: float = 1.0
    """Sample only from the smallest set of most likely tokens with at least this total probability."""
    min_p: float = 0.0
    """Sample only from tokens with at least this fraction of the most likely token's probability."""
    repetition_penalty: float = 1.0
    """Penalty on tokens already in the sequence: divides positive logits, multiplies negative ones (CTRL)."""

    @property
    def is_plain(self) -> bool:
        """Whether tokens are sampled from the model's own distribution at this temperature."""
        return not self.top_k and self.top_p >= 1 and self.min_p <= 0 and self.repetition_penalty == 1


@dataclass(frozen=True, slots=True)
class Request:
    """A request to an engine for one completion."""

    prompt_ids: tuple[int, ...]
    """All tokens that the model gets, including a pre-filled start of the response."""
    seed: int
    sampling: Sampling
    forced_ids: tuple[int, ...] = ()
    """Tokens that the completion starts with, in place of sampled ones."""
    position: int = 0
    """Number of answer tokens before this completion. Token t uses random number `position + t` of the seed."""
    intervention: object = None
    """A `budgetrl.rollout.interventions.Intervention` to apply while decoding, or None."""


FinishReason = Literal["stop", "length", "forced_close", "aborted"]
"""Why a completion ended: an end token or stop string, the token limit, an answer after a decoding method closed the
reasoning, or cancellation."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The tokens generated for one request, or by one decoding program."""

    token_ids: tuple[int, ...]
    """Generated tokens, including the end token but no pre-filled tokens."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the distribution that it was sampled from, with temperature applied. 0 for a
    forced token."""
    finish_reason: FinishReason
    version: int = 0
    """Version of the weights that generated it: their number of optimizer steps."""
    forced: frozenset[int] = frozenset()
    """Positions of tokens that a decoding method inserted, rather than the policy sampling them."""
    is_truncated: bool = False
    """Whether a completion with finish reason `forced_close` counts as truncated."""
    tokens_discarded: int = 0
    """Number of tokens, sampled or forced, that the decoding method discarded."""
    tokens_read: int = 0
    """Number of prompt and answer tokens that were computed again."""

    @property
    def finished(self) -> bool:
        """Whether the completion is whole, rather than truncated."""
        if self.finish_reason == "forced_close":
            return not self.is_truncated
        return self.finish_reason == "stop"

    @property
    def sampled_logprobs(self) -> tuple[float, ...]:
        """Log-probabilities of the sampled tokens, without forced ones."""
        if not self.forced:
            return self.logprobs
        return tuple(value for position, value in enumerate(self.logprobs) if position not in self.forced)

    @property
    def tokens_spent(self) -> int:
        """Number of all tokens that were generated for it: sampled, forced and discarded."""
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
    """All tokens generated for the response: sampled, forced, discarded, tags and end token. None if unknown."""
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
