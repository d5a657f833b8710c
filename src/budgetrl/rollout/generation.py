"""The state of one request while an engine works on it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from budgetrl.core.records import Completion, FinishReason, Request
from budgetrl.rollout.interventions import Intervention, interventions_of

Decode = Callable[[Sequence[int]], str]
"""Converts token ids to text."""

OnTokens = Callable[[Sequence[int], Sequence[float]], None]
"""Receives new token ids and their log-probabilities while a completion is being generated."""


@dataclass(eq=False)
class Generation:
    """A request and the tokens generated for it so far."""

    request: Request
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    """None until the completion has ended."""
    tokens_read: int = 0
    """Number of prompt tokens that the engine computed for this request. 0 if another request's cache was reused."""
    interventions: list[Intervention] = field(default_factory=list)
    """The interventions of the request, including the ban on early end tokens."""

    def __post_init__(self) -> None:
        self.interventions = interventions_of(self.request)
        # Kept here because `append` runs for every token of every row.
        sampling = self.request.sampling
        self._forced = len(self.request.forced_ids)
        self._max_length = self._forced + sampling.max_new_tokens
        self._stop_ids = frozenset(sampling.stop_ids)
        self._has_stop_strings = bool(sampling.stop_strings)

    def next_token(self, sampled: int) -> int:
        """Return the next token of the completion: a forced one if any are left, else `sampled`."""
        index = len(self.token_ids)
        forced_ids = self.request.forced_ids
        return forced_ids[index] if index < len(forced_ids) else sampled

    def append(self, token_id: int, logprob: float, decode: Decode) -> None:
        """Add the next token, and set `finish_reason` if it is the last one."""
        self.token_ids.append(token_id)
        length = len(self.token_ids)
        if length <= self._forced:  # a forced token has no log-probability and cannot end the completion
            self.logprobs.append(0.0)
            return
        self.logprobs.append(logprob)
        if token_id in self._stop_ids or (self._has_stop_strings and self._ends_with_stop_string(decode)):
            self.finish_reason = "stop"
        elif length >= self._max_length:
            self.finish_reason = "length"

    def completion(self, version: int) -> Completion:
        """Return the finished completion. `version` is the version of the weights that generated it.

        Raises:
            FloatingPointError: A log-probability is NaN.
        """
        assert self.finish_reason is not None
        if any(map(math.isnan, self.logprobs)):
            raise FloatingPointError("the model returned NaN logits; its weights have diverged")
        return Completion(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            version=version,
            forced=frozenset(range(len(self.request.forced_ids))),
        )

    def _ends_with_stop_string(self, decode: Decode) -> bool:
        """Whether the last token completes a stop string. Forced tokens are not part of the searched text."""
        stops = self.request.sampling.stop_strings
        sampled = self.token_ids[len(self.request.forced_ids) :]
        # Decode only the last tokens. A character takes up to 4 tokens, one for each byte of its UTF-8 form, so
        # 4 times the length of the longest stop string is enough.
        tail = sampled[-4 * max(map(len, stops)) :]
        text, text_before = decode(tail), decode(tail[:-1])
        return any(stop in text and stop not in text_before for stop in stops)
