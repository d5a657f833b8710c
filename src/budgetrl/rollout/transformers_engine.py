"""Reference and fallback: transformers' own `generate`, made to draw with our uniforms."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from budgetrl.core.records import Completion, Request
from budgetrl.rollout.draws import Distributions, draw, draw_from, uniforms
from budgetrl.rollout.generation import Decode, Generation
from budgetrl.rollout.interventions import Intervention, StepRows
from budgetrl.rollout.local_engine import LocalEngine, batches_of


class TransformersEngine(LocalEngine):
    """Completions of any causal model of transformers. Dropout is off while it generates."""

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        generations = [Generation(request) for request in requests]
        with _sampling_only(self._model):
            for places in batches_of(requests, self.settings.batch_size):
                _generate(self._model, [generations[place] for place in places], self._decode)
        return [generation.completion(self.version) for generation in generations]


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


def _generate(model: Any, batch: Sequence[Generation], decode: Decode) -> None:
    """Bring the generations of one batch to their end. All have the same sampling settings."""
    ids, mask = _left_padded([generation.request.prompt_ids for generation in batch], model.device)
    step = _Step(batch, ids.shape[1], decode, model.config.vocab_size, ids.device)
    sampling = batch[0].request.sampling
    forced = max(len(generation.request.forced_ids) for generation in batch)
    settings = GenerationConfig(do_sample=False, max_new_tokens=forced + sampling.max_new_tokens, pad_token_id=0)
    with ExitStack() as hooks:
        for number in sorted({layer for intervention in step.rows_of for layer in intervention.layers}):
            hooks.enter_context(_edited(_blocks(model)[number], number, step))
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([step]),
            stopping_criteria=StoppingCriteriaList([_HaveEnded(batch, ids.device)]),
        )


class _Step(LogitsProcessor):
    """Draws the next token itself and leaves greedy search no other choice."""

    def __init__(
        self, batch: Sequence[Generation], width: int, decode: Decode, vocabulary: int, device: torch.device
    ) -> None:
        self._batch, self._width, self._decode = batch, width, decode
        requests = [generation.request for generation in batch]
        self._seeds = torch.tensor([request.seed for request in requests], device=device)
        self._positions = torch.tensor([request.position for request in requests], device=device)
        self._sampling = requests[0].sampling
        self._distributions = Distributions.of([request.sampling for request in requests], vocabulary, device)
        self.rows_of: dict[Intervention, list[int]] = {}
        for row, generation in enumerate(batch):
            for intervention in generation.interventions:
                self.rows_of.setdefault(intervention, []).append(row)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        number = input_ids.shape[1] - self._width
        for intervention, rows in self.rows_of.items():
            edited = intervention.edit_logits(scores[rows], self.step_rows(rows))
            scores = scores.index_copy(0, torch.tensor(rows, device=scores.device), edited)
        noise = uniforms(self._seeds, self._positions + number)
        if self._sampling.is_plain:
            ids, logprobs = draw(scores, noise, self._sampling.temperature)
        else:
            seen = self._seen(input_ids, scores) if self._sampling.repetition_penalty != 1 else None
            ids, logprobs = draw_from(scores, noise, self._distributions, seen)
        tokens = ids.tolist()
        for row, (generation, logprob) in enumerate(zip(self._batch, logprobs.tolist(), strict=True)):
            if generation.finish_reason is None:
                tokens[row] = generation.next_forced(tokens[row])
                generation.append(tokens[row], logprob, self._decode)
        ids = torch.tensor(tokens, device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids[:, None], 0.0)

    def step_rows(self, rows: Sequence[int]) -> StepRows:
        """What an intervention on these rows is told."""
        generations = [self._batch[row] for row in rows]
        drawn = torch.tensor([len(generation.token_ids) for generation in generations], device=self._seeds.device)
        return StepRows([generation.request for generation in generations], drawn)

    def _seen(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V]: the tokens that each sequence holds, left padding aside."""
        seen = torch.zeros_like(scores, dtype=torch.bool)
        for row, generation in enumerate(self._batch):
            held = len(generation.request.prompt_ids) + len(generation.token_ids)
            seen[row, input_ids[row, -held:]] = True
        return seen


class _HaveEnded(StoppingCriteria):
    """Tells `generate` which sequences have come to their end."""

    def __init__(self, batch: Sequence[Generation], device: torch.device) -> None:
        self._batch, self._device = batch, device

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        ended = [generation.finish_reason is not None for generation in self._batch]
        return torch.tensor(ended, device=self._device)


def _blocks(model: Any) -> Sequence[Any]:
    """The model's layers. GPT-2 and its relatives have another name for them."""
    body = model.get_decoder()
    return body.layers if hasattr(body, "layers") else body.h


@contextmanager
def _edited(layer: Any, number: int, step: _Step) -> Iterator[None]:
    """While open, interventions edit what comes out of a layer for the last token of each sequence."""

    def edit(_: Any, __: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        for intervention, rows in step.rows_of.items():
            if number in intervention.layers:
                hidden[rows, -1] = intervention.edit_hidden(number, hidden[rows, -1], step.step_rows(rows))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = layer.register_forward_hook(edit)
    try:
        yield
    finally:
        handle.remove()


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, [B, longest] each, zero where a row has padding."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
