"""Shared code of the engines that run a Hugging Face model: opening and closing, request checks, and batches."""

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
    """Generates with the weights that it was opened with, on their device.

    It uses the training weights themselves, not a copy, so it sees every optimizer step at once. Under ZeRO stage 3 the
    caller must gather the parameters around `generate`.
    """

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        self._opened: tuple[TextCodec, Any] | None = None

    @property
    def _codec(self) -> TextCodec:
        return self._require_open()[0]

    @property
    def _model(self) -> Any:
        return self._require_open()[1]

    def _decode(self, ids: Sequence[int]) -> str:
        return self._codec.decode(ids)

    def _require_open(self) -> tuple[TextCodec, Any]:
        if self._opened is None:
            raise RuntimeError("the engine has no model: call open first")
        return self._opened

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`."""
        if model is None:
            raise ValueError(f"rollout={self.settings.name} needs the weights of the model; pass a model to open()")
        self._opened = codec, model
        return self

    def sync(self, version: int) -> None:
        """See `Engine.sync`. Only the version number changes: the engine uses the training weights themselves."""
        self.version = version

    def close(self) -> None:
        """See `Engine.close`."""
        self._opened = None

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`.

        Raises:
            ValueError: A prompt is empty, or sampling settings are out of range.
        """
        if not requests:
            return []
        check_requests(requests, self._model.config.vocab_size)
        return self._generate(requests)

    @abstractmethod
    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the completions of one or more checked requests, in order."""


def check_requests(requests: Sequence[Request], vocabulary: int) -> None:
    """Raise ValueError for a request that no engine can serve. `vocabulary` is the model's vocabulary size."""
    for index, request in enumerate(requests):
        if not request.prompt_ids:
            raise ValueError(f"request {index} has no prompt tokens: a completion needs at least one to start from")
    # Most requests share one Sampling, so check each distinct value once.
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
    """Return the indices of the requests in decoding order: longest prompts first, equal prompts next to each other."""

    # With the longest first, a batch that is too large for the device fails at the start and not after an hour.
    def sort_key(index: int) -> tuple[int, tuple[int, ...]]:
        prompt = requests[index].prompt_ids
        return -len(prompt), prompt

    return sorted(range(len(requests)), key=sort_key)


def make_batches(requests: Sequence[Request], batch_size: int) -> list[list[int]]:
    """Split the requests into batches of at most `batch_size` with equal sampling settings. Returns request indices."""
    by_sampling: dict[Sampling, list[int]] = {}
    for index in admission_order(requests):
        by_sampling.setdefault(requests[index].sampling, []).append(index)
    batches: list[list[int]] = []
    for indices in by_sampling.values():
        for start in range(0, len(indices), batch_size):
            batches.append(indices[start : start + batch_size])
    return batches
