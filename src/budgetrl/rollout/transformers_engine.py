"""Reference and fallback: transformers' own `generate`, made to draw with our uniforms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from budgetrl.core.records import Completion
from budgetrl.rollout.draws import draw, uniforms
from budgetrl.rollout.engine import Sampling
from budgetrl.rollout.requests import Request, Tape, batches, check_sampling, grouped, stop_table


class TransformersEngine:
    """Completions of any causal model of transformers, on whatever device it is.

    Dropout is off while it generates. Under ZeRO stage 3 the caller gathers the parameters around `generate`.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        self._model: Any = model
        self._batch_size = batch_size

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`. Raises ValueError for empty prompts and impossible settings."""
        check_sampling(sampling, self._model.config.vocab_size)
        with _sampling_only(self._model):
            done = [
                pair
                for batch in batches(prompts, seeds, self._batch_size)
                for pair in zip(batch, _write(self._model, batch, sampling), strict=True)
            ]
        return grouped(done, seeds)


@contextmanager
def _sampling_only(model: Any) -> Iterator[None]:
    """Evaluation mode, and no generation settings of the model's own (top-k, penalties, end tokens)."""
    modes, settings = [(module, module.training) for module in model.modules()], model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings
        for module, training in modes:
            module.training = training


def _write(model: Any, batch: Sequence[Request], sampling: Sampling) -> list[Completion]:
    """The completions of one batch, in its order."""
    ids, mask = _left_padded([request.prompt for request in batch], model.device)
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
    return draws.tape.completions(stop_table(sampling.stop_ids, model.config.vocab_size, ids.device))


class _InverseCdf(LogitsProcessor):
    """Draws the next token itself and leaves greedy search no other choice."""

    def __init__(self, seeds: Tensor, width: int, sampling: Sampling) -> None:
        self._seeds, self._width, self._temperature = seeds, width, sampling.temperature
        self._rows = torch.arange(len(seeds), device=seeds.device)
        self.tape = Tape(sampling.max_new_tokens, len(seeds), seeds.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        position = input_ids.shape[1] - self._width
        ids, logprobs = draw(scores, uniforms(self._seeds, position), self._temperature)
        self.tape.write(self._rows, ids, logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids[:, None], 0.0)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [B, longest] each, zero where a row has padding."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids.to(device), mask.to(device)
