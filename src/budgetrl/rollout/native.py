"""The native engine: a batched sampler on the training weights themselves.

What makes it fast: each prompt is read once for all its samples, finished rows leave the batch, the
cache is filled in place, and nothing but the count of running rows crosses from the device in between.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from budgetrl.core.records import Completion
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.cache import Cache
from budgetrl.rollout.decoder import Decoder, require_support
from budgetrl.rollout.draws import draw, uniforms
from budgetrl.rollout.local_engine import Batch, LocalEngine
from budgetrl.rollout.tape import Tape, stop_table

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

PREFILL_TOKENS = 8192
"""Prompt tokens read at once: enough to keep any device busy, few enough for the memory of a large MLP."""

PACK_AT = 0.9
"""Finished rows are dropped when at most this share of the batch is still running."""

Prompt = tuple[tuple[int, ...], int]
"""A distinct prompt of a batch and how many of its rows have it."""


class NativeEngine(LocalEngine):
    """Completions of a Llama-family model.

    Only parameters are read, so training mode, dropout and hooks play no part.
    """

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`. ValueError for a model that is not of the Llama family."""
        if model is not None:
            require_support(model)
        return super().open(codec, model)

    def _generate_batches(self, batches: Sequence[Batch]) -> Iterator[list[Completion]]:
        longest = 0
        for batch in batches:
            prompt = max(len(request.prompt_ids) for request in batch)
            longest = max(longest, prompt + batch[0].sampling.max_new_tokens)
        decoder = Decoder(self._model, longest)
        for batch in batches:
            yield _generate(decoder, batch, self.version)


def _generate(decoder: Decoder, batch: Batch, version: int) -> list[Completion]:
    """The completions of one batch, in its order.

    `rows` are the batch rows that are still decoded: the cache, `ids`, `logits` and `running` have one entry for each.
    """
    device, sampling = decoder.layout.device, batch[0].sampling
    last = sampling.max_new_tokens
    cache, logits = _read_prompts(decoder, batch, last)
    stops = stop_table(sampling.stop_ids, logits.shape[1], device)
    seeds = torch.tensor([request.seed for request in batch]).to(device)
    noise = uniforms(seeds, torch.arange(last, device=device)[:, None])
    tape = Tape(last, len(batch), device)
    rows = torch.arange(len(batch), device=device)
    running = torch.ones_like(rows, dtype=torch.bool)
    patience = _patience(device)
    for step in range(last):
        ids, logprobs = draw(logits, noise[step].index_select(0, rows), sampling.temperature)
        tape.record(rows, ids, logprobs)
        running &= ~stops.index_select(0, ids)
        if step % patience == 0:
            count = int(running.sum())
            if count == 0:
                break
            if count <= PACK_AT * len(rows):
                order = _survivors(running, count)
                rows, ids, running = rows[order], ids[order], running[order]
                cache.pack(order)
        if step + 1 < last:
            logits = decoder.step(ids, cache)
    return tape.completions(stops, version)


def _patience(device: torch.device) -> int:
    """Steps between two counts of the running rows: a count makes the host wait for an accelerator."""
    return 1 if device.type == "cpu" else 8


def _survivors(running: Tensor, count: int) -> Tensor:
    """[count]: the running row each place gets; places that run keep theirs, holes take from behind."""
    order = torch.arange(count, device=running.device)
    holes = (~running[:count]).nonzero().squeeze(1)
    order[holes] = running[count:].nonzero().squeeze(1) + count
    return order


def _read_prompts(decoder: Decoder, batch: Batch, limit: int) -> tuple[Cache, Tensor]:
    """A cache with every row's prompt in it, and the logits [B, V] of the first new token.

    Each distinct prompt is computed once. `limit` is the most tokens a row will be given.
    """
    cache = Cache(decoder.layout, [len(request.prompt_ids) for request in batch], limit)
    logits: list[Tensor] = []
    first = 0
    for chunk in _chunks(_distinct_prompts(batch)):
        ids, lengths = _right_padded([prompt for prompt, _ in chunk], decoder.layout.device)
        samples = torch.tensor([count for _, count in chunk]).to(ids.device)
        owners = torch.repeat_interleave(samples)  # the prompt of each row
        source = cache.source(first, owners, lengths, ids.shape[1])
        logits.append(decoder.prefill(ids, lengths, cache, source)[owners])
        first += len(owners)
    return cache, torch.cat(logits)


def _distinct_prompts(batch: Batch) -> list[Prompt]:
    """The prompts in the order of the batch, in which equal ones are neighbors."""
    prompts: list[Prompt] = []
    for prompt, rows in groupby(batch, key=lambda request: request.prompt_ids):
        prompts.append((prompt, len(list(rows))))
    return prompts


def _chunks(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    """Runs of prompts, longest first as they come, of at most PREFILL_TOKENS with padding (or one prompt)."""
    start = 0
    while start < len(prompts):
        size = max(1, PREFILL_TOKENS // len(prompts[start][0]))
        yield prompts[start : start + size]
        start += size


def _right_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [n, longest], zero after a prompt's end, and the lengths [n]."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids.to(device), torch.tensor(lengths).to(device)
