"""The native engine: a batched sampler on the training weights themselves.

What makes it fast: each prompt is read once for all its samples, finished rows leave the batch, the
cache is written in place, and nothing but the count of running rows crosses from the device in between.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from budgetrl.core.records import Completion
from budgetrl.rollout.cache import Cache
from budgetrl.rollout.decoder import Decoder, require_support
from budgetrl.rollout.draws import draw, uniforms
from budgetrl.rollout.engine import Sampling
from budgetrl.rollout.requests import Request, Tape, batches, check_sampling, grouped, stop_table

PREFILL_TOKENS = 8192
"""Prompt tokens read at once: enough to keep any device busy, few enough for the memory of a large MLP."""

PACK_AT = 0.9
"""Finished rows are dropped when at most this share of the batch is still running."""

Prompt = tuple[tuple[int, ...], int]
"""A distinct prompt of a batch and how many of its rows have it."""


class NativeEngine:
    """Completions of a Llama-family model, on whatever device its weights are.

    Only parameters are read, so training mode, dropout and hooks play no part. Under ZeRO stage 3 the
    caller gathers the parameters around `generate`. Raises ValueError for an unsupported model.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        require_support(model)
        self._model: Any = model
        self._batch_size = batch_size

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`. Raises ValueError for empty prompts and impossible settings."""
        check_sampling(sampling, self._model.config.vocab_size)
        work = batches(prompts, seeds, self._batch_size)
        longest = max(map(len, prompts), default=0)
        decoder = Decoder(self._model, longest + sampling.max_new_tokens)
        done = [pair for batch in work for pair in zip(batch, _write(decoder, batch, sampling), strict=True)]
        return grouped(done, seeds)


def _write(decoder: Decoder, batch: Sequence[Request], sampling: Sampling) -> list[Completion]:
    """The completions of one batch, in its order."""
    device, last = decoder.layout.device, sampling.max_new_tokens
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
        tape.write(rows, ids, logprobs)
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
    return tape.completions(stops)


def _patience(device: torch.device) -> int:
    """Steps between two counts of the running rows: a count makes the host wait for an accelerator."""
    return 1 if device.type == "cpu" else 8


def _survivors(running: Tensor, count: int) -> Tensor:
    """[count]: the running row each place gets; places that run keep theirs, holes take from behind."""
    order = torch.arange(count, device=running.device)
    holes = (~running[:count]).nonzero().squeeze(1)
    order[holes] = running[count:].nonzero().squeeze(1) + count
    return order


def _read_prompts(decoder: Decoder, batch: Sequence[Request], limit: int) -> tuple[Cache, Tensor]:
    """A cache with every row's prompt in it, and the logits [B, V] of the first new token.

    Each distinct prompt is computed once. `limit` is the most tokens a row will be given.
    """
    cache = Cache(decoder.layout, [len(request.prompt) for request in batch], limit)
    prompts: list[Prompt] = [(p, len(list(rows))) for p, rows in groupby(r.prompt for r in batch)]
    logits, first = [], 0
    for chunk in _chunks(prompts):
        ids, lengths = _right_padded([prompt for prompt, _ in chunk], decoder.layout.device)
        samples = torch.tensor([count for _, count in chunk]).to(ids.device)
        owners = torch.repeat_interleave(samples)
        source = cache.source(first, owners, lengths, ids.shape[1])
        logits.append(decoder.prefill(ids, lengths, cache, source)[owners])
        first += len(owners)
    return cache, torch.cat(logits)


def _chunks(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    """Runs of prompts, longest first as they come, of at most PREFILL_TOKENS with padding (or one prompt)."""
    start = 0
    while start < len(prompts):
        size = max(1, PREFILL_TOKENS // len(prompts[start][0]))
        yield prompts[start : start + size]
        start += size


def _right_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [n, longest], zero after a prompt's end, and the lengths [n]."""
    width = max(map(len, prompts))
    ids = torch.tensor([list(prompt) + [0] * (width - len(prompt)) for prompt in prompts])
    return ids.to(device), torch.tensor([len(prompt) for prompt in prompts]).to(device)
