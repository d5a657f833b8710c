"""What the engines on a Hugging Face model share: their life, the checks of requests, and batches."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.engine import Engine
from budgetrl.settings.rollout.base import LocalSettings

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel


class LocalEngine(Engine[LocalSettings]):
    """Generates with the weights it was opened with, on whatever device they are.

    These are the weights themselves, not a copy, so that it generates with new weights as soon as an
    optimizer changes them. Under ZeRO stage 3 the caller gathers the parameters around `generate`.
    """

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        self._opened: tuple[TextCodec, Any] | None = None

    @property
    def _codec(self) -> TextCodec:
        return self._ready()[0]

    @property
    def _model(self) -> Any:
        return self._ready()[1]

    def _decode(self, ids: Sequence[int]) -> str:
        return self._codec.decode(ids)

    def _ready(self) -> tuple[TextCodec, Any]:
        if self._opened is None:
            raise RuntimeError("the engine has no model: call open first")
        return self._opened

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`."""
        if model is None:
            raise ValueError(f"rollout={self.settings.name} needs the weights of the model")
        self._opened = codec, model
        return self

    def sync(self, version: int) -> None:
        """See `Engine.sync`. Only the number changes here: the weights are those in training already."""
        self.version = version

    def close(self) -> None:
        """See `Engine.close`."""
        self._opened = None

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`. Raises ValueError for an empty prompt or sampling limits that make no sense."""
        if not requests:
            return []
        check_requests(requests, self._model.config.vocab_size)
        return self._generate(requests)

    @abstractmethod
    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        """The completions of one request or more, in their order."""


def check_requests(requests: Sequence[Request], vocabulary: int) -> None:
    """Raise ValueError for a request that no engine can follow."""
    for index, request in enumerate(requests):
        if not request.prompt_ids:
            raise ValueError(f"request {index} has no prompt tokens: a completion needs one to start from")
    for sampling in dict.fromkeys(request.sampling for request in requests):
        _check_sampling(sampling, vocabulary)


def _check_sampling(sampling: Sampling, vocabulary: int) -> None:
    if sampling.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {sampling.max_new_tokens}")
    if sampling.temperature < 0:
        raise ValueError(f"temperature must not be negative, got {sampling.temperature}")
    unknown = [i for i in sampling.stop_ids if not 0 <= i < vocabulary]
    if unknown:
        raise ValueError(f"stop_ids {unknown} are not in the model's vocabulary of {vocabulary} tokens")


def admission_order(requests: Sequence[Request]) -> list[int]:
    """The places of the requests in the order in which they are decoded: the longest prompts first, equal prompts
    next to each other.

    Longest first, so that a batch that is too large for the device fails at once and not after an hour.
    """

    def longest_first(place: int) -> tuple[int, tuple[int, ...]]:
        prompt = requests[place].prompt_ids
        return -len(prompt), prompt

    return sorted(range(len(requests)), key=longest_first)


def batches_of(requests: Sequence[Request], batch_size: int) -> list[list[int]]:
    """The places of requests that are decoded together: at most `batch_size`, with equal sampling settings."""
    by_sampling: dict[Sampling, list[int]] = {}
    for place in admission_order(requests):
        by_sampling.setdefault(requests[place].sampling, []).append(place)
    batches: list[list[int]] = []
    for places in by_sampling.values():
        batches += [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
    return batches
