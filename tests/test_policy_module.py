"""Log-probabilities in chunks against a full softmax over the model's own logits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from budgetrl.policy import module
from budgetrl.policy.module import PolicyModule
from budgetrl.training.batching import Batch, collate

VOCABULARY, CHUNK = 64, 3
SEQUENCES = [([5, 6], [7, 8, 9, 10, 11]), ([12], [13, 14]), ([3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8])]
Sequences = list[tuple[list[int], list[int]]]

ENTROPY_AT = torch.tensor([0, 4, 6, 13])

Make = Callable[..., Qwen2ForCausalLM]


def with_loss(sequences: Sequences) -> list[tuple[list[int], list[int], tuple[int, ...]]]:
    """The sequences with loss on every completion token."""
    return [(prompt, completion, ()) for prompt, completion in sequences]


@pytest.fixture
def model(tiny_qwen2: Make) -> Qwen2ForCausalLM:
    return tiny_qwen2(VOCABULARY, initializer_range=0.5)


@pytest.fixture
def rows_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Forces chunks of three tokens, and records how many rows of logits are made at once."""
    seen: list[int] = []
    whole = PolicyModule._logits

    def watched(self: PolicyModule, hidden_ND: Tensor) -> Tensor:
        seen.append(len(hidden_ND))
        return whole(self, hidden_ND)

    monkeypatch.setattr(module, "LOGITS_PER_CHUNK", CHUNK * VOCABULARY)
    monkeypatch.setattr(PolicyModule, "_logits", watched)
    return seen


def run(policy: PolicyModule, batch: Batch, entropy_at: Tensor = ENTROPY_AT) -> tuple[Tensor, Tensor]:
    return policy(batch.input_ids, batch.rows, batch.columns, entropy_at)


def in_full(model: Qwen2ForCausalLM, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the same numbers computed from all logits at once, one unpadded sequence at a time."""
    logprobs, entropies = [], []
    for prompt, completion in SEQUENCES:
        ids = torch.tensor([[*prompt, *completion]])
        logp_TV = (model(ids).logits[0] / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
        logprobs.append(logp_TV.gather(-1, torch.tensor(completion)[:, None])[:, 0])
        entropies.append(-(logp_TV.exp() * logp_TV).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)[ENTROPY_AT]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_those_of_the_full_softmax(
    model: Qwen2ForCausalLM, rows_at_once: list[int], temperature: float
) -> None:
    weights = torch.linspace(-1, 2, sum(len(completion) for _, completion in SEQUENCES))
    gradients = []
    outputs = []
    for logprobs, entropies in (
        run(PolicyModule(model, temperature), collate(with_loss(SEQUENCES))),
        in_full(model, temperature),
    ):
        outputs.append((logprobs, entropies))
        loss = (logprobs * weights).sum() + entropies.square().sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert max(rows_at_once) == len(ENTROPY_AT)  # entropies are few, and made at once
    assert rows_at_once.count(CHUNK) == 2 * (14 // CHUNK)  # once forward, once more in the backward pass


def test_without_gradients_nothing_is_computed_twice(model: Qwen2ForCausalLM, rows_at_once: list[int]) -> None:
    with torch.no_grad():
        chunked, _ = run(PolicyModule(model), collate(with_loss(SEQUENCES)))
    assert rows_at_once == [3, 3, 3, 3, 2, 4]
    torch.testing.assert_close(chunked, in_full(model, 1.0)[0], rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing(model: Qwen2ForCausalLM) -> None:
    policy, nowhere = PolicyModule(model), torch.empty(0, dtype=torch.long)
    batch = collate(with_loss(SEQUENCES))
    together, none = run(policy, batch, nowhere)
    alone = [run(policy, collate(with_loss([sequence])), nowhere)[0] for sequence in SEQUENCES]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)
    assert none.shape == (0,)
    ids = batch.input_ids.clone()
    for row, (prompt, completion) in enumerate(SEQUENCES):
        ids[row, len(prompt) + len(completion) :] = 63
    assert torch.equal(run(policy, Batch(ids, batch.rows, batch.columns), nowhere)[0], together)


def test_an_empty_micro_batch_has_a_backward_pass_of_zeros(model: Qwen2ForCausalLM) -> None:
    logprobs, entropies = run(PolicyModule(model), collate([]), torch.empty(0, dtype=torch.long))
    (logprobs.sum() - entropies.sum()).backward()
    assert logprobs.shape == (0,)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_half_precision_model_gives_float32(model: Qwen2ForCausalLM) -> None:
    logprobs, entropies = run(PolicyModule(model.to(torch.bfloat16)), collate(with_loss(SEQUENCES)))
    assert logprobs.dtype == entropies.dtype == torch.float32
    torch.testing.assert_close(logprobs, in_full(model, 1.0)[0].float(), rtol=0.1, atol=0.1)


def test_models_that_rescale_their_logits_are_rejected(model: Qwen2ForCausalLM) -> None:
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match=r"qwen2.*final_logit_softcapping"):
        PolicyModule(model)
