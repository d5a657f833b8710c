"""What the engines on a Hugging Face model share: their life, the checks of requests, and batches."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.engine import Engine
from budgetrl.settings.rollout.base import LocalSettings

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

Batch = list[Request]
"""Requests that are decoded together: all have the same sampling limits, and equal prompts are neighbors."""


class LocalEngine(Engine[LocalSettings]):
    """Generates with the weights it was opened with, on whatever device they are.

    These are the weights themselves, not a copy, so that it generates with new weights as soon as an
    optimizer changes them. Under ZeRO stage 3 the caller gathers the parameters around `generate`.
    """

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        self._opened: Any = None

    @property
    def _model(self) -> Any:
        if self._opened is None:
            raise RuntimeError("the engine has no model: call open first")
        return self._opened

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`."""
        if model is None:
            raise ValueError(f"rollout={self.settings.name} needs the weights of the model")
        self._opened = model
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
        check_requests(requests, self._model.config.vocab_size)
        order = batch_order(requests)
        batches = cut_batches([requests[i] for i in order], self.settings.batch_size)
        completions: list[Completion] = []
        for batch in self._generate_batches(batches):
            completions += batch
        by_place = dict(zip(order, completions, strict=True))
        return [by_place[place] for place in range(len(requests))]

    @abstractmethod
    def _generate_batches(self, batches: Sequence[Batch]) -> Iterable[list[Completion]]:
        """The completions of each batch, in its order."""


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


def batch_order(requests: Sequence[Request]) -> list[int]:
    """The places of the requests in the order in which they are decoded: those with equal limits together, the
    longest prompts first, equal prompts next to each other.

    Longest first, so that a batch that is too large for the device fails at once and not after an hour.
    """
    groups: dict[Sampling, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(request.sampling, []).append(place)

    def longest_first(place: int) -> tuple[int, tuple[int, ...]]:
        prompt = requests[place].prompt_ids
        return -len(prompt), prompt

    order: list[int] = []
    for places in groups.values():
        order += sorted(places, key=longest_first)
    return order


def cut_batches(requests: Sequence[Request], batch_size: int) -> list[Batch]:
    """Runs of at most `batch_size` requests that have equal sampling limits."""
    batches: list[Batch] = []
    for request in requests:
        last = batches[-1] if batches else []
        if last and len(last) < batch_size and last[0].sampling == request.sampling:
            last.append(request)
        else:
            batches.append([request])
    return batches
