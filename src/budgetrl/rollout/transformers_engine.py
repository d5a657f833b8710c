"""Reference and fallback: transformers' own `generate`, made to draw with our uniforms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from budgetrl.core.records import Completion, Sampling
from budgetrl.rollout.draws import draw, uniforms
from budgetrl.rollout.local_engine import Batch, LocalEngine
from budgetrl.rollout.tape import Tape, stop_table


class TransformersEngine(LocalEngine):
    """Completions of any causal model of transformers. Dropout is off while it generates."""

    def _generate_batches(self, batches: Sequence[Batch]) -> Iterator[list[Completion]]:
        with _sampling_only(self._model):
            for batch in batches:
                yield _generate(self._model, batch, self.version)


@contextmanager
def _sampling_only(model: Any) -> Iterator[None]:
    """Evaluation mode, and no generation settings of the model's own (top-k, penalties, end tokens)."""
    modes = [(module, module.training) for module in model.modules()]
    settings = model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings
        for module, training in modes:
            module.training = training


def _generate(model: Any, batch: Batch, version: int) -> list[Completion]:
    """The completions of one batch, in its order."""
    sampling = batch[0].sampling
    ids, mask = _left_padded([request.prompt_ids for request in batch], model.device)
    seeds = torch.tensor([request.seed for request in batch]).to(ids.device)
    draws = _InverseCdf(seeds, ids.shape[1], sampling)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(sampling.stop_ids) or None,
        pad_token_id=0,
    )
    processors = LogitsProcessorList([draws])
    model.generate(input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=processors)
    stops = stop_table(sampling.stop_ids, model.config.vocab_size, ids.device)
    return draws.tape.completions(stops, version)


class _InverseCdf(LogitsProcessor):
    """Draws the next token itself and leaves greedy search no other choice."""

    def __init__(self, seeds: Tensor, width: int, sampling: Sampling) -> None:
        self._seeds, self._width, self._temperature = seeds, width, sampling.temperature
        self._rows = torch.arange(len(seeds), device=seeds.device)
        self.tape = Tape(sampling.max_new_tokens, len(seeds), seeds.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        position = input_ids.shape[1] - self._width
        ids, logprobs = draw(scores, uniforms(self._seeds, position), self._temperature)
        self.tape.record(self._rows, ids, logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids[:, None], 0.0)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [B, longest] each, zero where a row has padding."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
