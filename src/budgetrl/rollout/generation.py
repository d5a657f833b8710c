"""One request while an engine works on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from budgetrl.core.records import Completion, FinishReason, Request
from budgetrl.rollout.interventions import Intervention, interventions_of

Decode = Callable[[Sequence[int]], str]
"""Token ids -> text."""


OnTokens = Callable[[Sequence[int], Sequence[float]], None]
"""Hears of token ids and log-probabilities as they come."""


@dataclass(eq=False)
class Generation:
    """A request, and what has been generated for it so far."""

    request: Request
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    """None while more is to come."""
    tokens_read: int = 0
    """Prompt tokens that were computed for it."""
    interventions: list[Intervention] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interventions = interventions_of(self.request)

    def next_forced(self, drawn: int, ahead: int = 0) -> int:
        """The token that comes next, or `ahead` tokens later: a forced one if the request says so, else `drawn`."""
        place = len(self.token_ids) + ahead
        return self.request.forced_ids[place] if place < len(self.request.forced_ids) else drawn

    def append(self, token_id: int, logprob: float, decode: Decode) -> None:
        """Note the next token, and whether it is the last."""
        self.token_ids.append(token_id)
        drawn = len(self.token_ids) - len(self.request.forced_ids)
        if drawn <= 0:
            self.logprobs.append(0.0)
            return
        self.logprobs.append(logprob)
        sampling = self.request.sampling
        if token_id in sampling.stop_ids or (sampling.stop_strings and self._ends_with_stop_string(decode)):
            self.finish_reason = "stop"
        elif drawn >= sampling.max_new_tokens:
            self.finish_reason = "length"

    def completion(self, version: int) -> Completion:
        """What it came to. FloatingPointError if the model gave a log-probability that is not a number."""
        assert self.finish_reason is not None
        if any(value != value for value in self.logprobs):
            raise FloatingPointError("the model's logits are not numbers (NaN): its weights have diverged")
        return Completion(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            version=version,
            forced=frozenset(range(len(self.request.forced_ids))),
        )

    def _ends_with_stop_string(self, decode: Decode) -> bool:
        """Whether the last token completes a stop string. Forced tokens are not looked at."""
        stops = self.request.sampling.stop_strings
        drawn = self.token_ids[len(self.request.forced_ids) :]
        # A token may be only a part of a character, so there can be more tokens than characters.
        tail = drawn[-4 * max(map(len, stops)) :]
        text, before = decode(tail), decode(tail[:-1])
        return any(stop in text and stop not in before for stop in stops)
