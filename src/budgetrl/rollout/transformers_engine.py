"""The transformers engine: `model.generate` from transformers, with our own sampling.

It runs any causal language model, and serves as the reference that the native engine is tested against.
"""

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
from budgetrl.rollout.local_engine import LocalEngine, make_batches


class TransformersEngine(LocalEngine):
    """Generates with any causal language model of transformers. Dropout is off during generation."""

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        generations = [Generation(request) for request in requests]
        with _sampling_only(self._model):
            for indices in make_batches(requests, self.settings.batch_size):
                _generate(self._model, [generations[index] for index in indices], self._decode)
        return [generation.completion(self.version) for generation in generations]


@contextmanager
def _sampling_only(model: Any) -> Iterator[None]:
    """Switch the model to evaluation mode and hide its own generation settings, such as top-k and end tokens."""
    # Save the mode of each module: `model.train()` would also switch on modules that were in evaluation mode before.
    modes = [(module, module.training) for module in model.modules()]
    settings = model.generation_config
    model.eval()
    # `generate` fills unset options from the model's generation_config, so passing our own config is not enough.
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings
        for module, training in modes:
            module.training = training


def _generate(model: Any, batch: Sequence[Generation], decode: Decode) -> None:
    """Run one batch until all its generations have ended. They must have the same sampling settings."""
    ids, mask = _left_padded([generation.request.prompt_ids for generation in batch], model.device)
    step = _Step(batch, ids.shape[1], decode, model.config.vocab_size, ids.device)
    sampling = batch[0].request.sampling
    forced = max(len(generation.request.forced_ids) for generation in batch)
    # Greedy search, because `step` samples the token itself and masks all others.
    settings = GenerationConfig(do_sample=False, max_new_tokens=forced + sampling.max_new_tokens, pad_token_id=0)
    layers: set[int] = set()
    for intervention in step.rows_by_intervention:
        layers.update(intervention.layers)
    with ExitStack() as hooks:
        for layer in sorted(layers):
            hooks.enter_context(_edit_layer_output(_layers(model)[layer], layer, step))
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([step]),
            stopping_criteria=StoppingCriteriaList([_Ended(batch, ids.device)]),
        )


class _Step(LogitsProcessor):
    """Samples the next token of each row, and masks all other tokens so that greedy search must pick it."""

    def __init__(
        self, batch: Sequence[Generation], width: int, decode: Decode, vocabulary: int, device: torch.device
    ) -> None:
        self._batch = batch
        self._width = width  # of the padded prompts
        self._decode = decode
        requests = [generation.request for generation in batch]
        self._seeds = torch.tensor([request.seed for request in requests], device=device)
        self._positions = torch.tensor([request.position for request in requests], device=device)
        self._sampling = requests[0].sampling
        self._distributions = Distributions.of([request.sampling for request in requests], vocabulary, device)
        self.rows_by_intervention: dict[Intervention, list[int]] = {}
        for row, generation in enumerate(batch):
            for intervention in generation.interventions:
                self.rows_by_intervention.setdefault(intervention, []).append(row)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        step = input_ids.shape[1] - self._width  # tokens generated so far
        for intervention, rows in self.rows_by_intervention.items():
            edited = intervention.edit_logits(scores[rows], self.step_rows(rows))
            scores = scores.index_copy(0, torch.tensor(rows, device=scores.device), edited)
        noise = uniforms(self._seeds, self._positions + step)
        if self._sampling.is_plain:
            ids, logprobs = draw(scores, noise, self._sampling.temperature)
        else:
            seen = self._seen(input_ids, scores) if self._sampling.repetition_penalty != 1 else None
            ids, logprobs = draw_from(scores, noise, self._distributions, seen)

        # Rows that have ended stay in the batch until the last one ends; their further tokens are ignored.
        tokens = ids.tolist()
        for row, (generation, logprob) in enumerate(zip(self._batch, logprobs.tolist(), strict=True)):
            if generation.finish_reason is None:
                tokens[row] = generation.next_token(tokens[row])
                generation.append(tokens[row], logprob, self._decode)
        ids = torch.tensor(tokens, device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids[:, None], 0.0)

    def step_rows(self, rows: Sequence[int]) -> StepRows:
        """Return what an intervention needs to know about these rows."""
        generations = [self._batch[row] for row in rows]
        lengths = [len(generation.token_ids) for generation in generations]
        requests = [generation.request for generation in generations]
        return StepRows(requests, torch.tensor(lengths, device=self._seeds.device))

    def _seen(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return a mask [B, V] of the tokens in each row's prompt and response, for the repetition penalty."""
        seen = torch.zeros_like(scores, dtype=torch.bool)
        for row, generation in enumerate(self._batch):
            # Skip the left padding: its token 0 may be a real word of the vocabulary.
            length = len(generation.request.prompt_ids) + len(generation.token_ids)
            seen[row, input_ids[row, -length:]] = True
        return seen


class _Ended(StoppingCriteria):
    """Tells `generate` which sequences have ended."""

    def __init__(self, batch: Sequence[Generation], device: torch.device) -> None:
        self._batch, self._device = batch, device

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        ended = [generation.finish_reason is not None for generation in self._batch]
        return torch.tensor(ended, device=self._device)


def _layers(model: Any) -> Sequence[Any]:
    """Return the model's transformer layers. Most models call them `layers`; GPT-2 and its relatives call them `h`."""
    body = model.get_decoder()
    return body.layers if hasattr(body, "layers") else body.h


@contextmanager
def _edit_layer_output(module: Any, layer: int, step: _Step) -> Iterator[None]:
    """Let interventions edit the layer's output for the last token of each sequence, while the context is open."""

    def edit(_: Any, __: Any, output: Any) -> Any:
        # Some models' layers return a tuple that starts with the hidden states.
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        for intervention, rows in step.rows_by_intervention.items():
            if layer in intervention.layers:
                hidden[rows, -1] = intervention.edit_hidden(layer, hidden[rows, -1], step.step_rows(rows))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = module.register_forward_hook(edit)
    try:
        yield
    finally:
        handle.remove()


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask [B, longest], both 0 at padding."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
