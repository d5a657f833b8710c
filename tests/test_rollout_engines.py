"""Both engines on tiny random models: the same completions, log-probabilities of the model itself."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout import decoder, scheduler, slots
from budgetrl.rollout.engine import Engine, make_engine
from budgetrl.rollout.native import NativeEngine
from budgetrl.rollout.transformers_engine import TransformersEngine
from budgetrl.settings.rollout.native import NativeSettings
from budgetrl.settings.rollout.transformers import TransformersSettings

VOCABULARY = 61
SIZES: dict[str, Any] = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    initializer_range=0.3,
    bos_token_id=None,
    eos_token_id=None,
)
UNGROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 4}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 64}
LLAMA3 = YARN | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen2_tied": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen2_yarn": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, rope_parameters=YARN)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama_biased": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "llama_scaled": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    "ungrouped": lambda: LlamaForCausalLM(LlamaConfig(**UNGROUPED)),
}


def make(name: str) -> nn.Module:
    """A model whose every parameter is random, biases and norms too (they start at zero and one)."""
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def qwen2() -> nn.Module:
    return make("qwen2")


def prompts_of(*lengths: int) -> list[list[int]]:
    generator = random.Random(7)
    return [[generator.randrange(VOCABULARY) for _ in range(length)] for length in lengths]


def same(left: list[list[Completion]], right: list[list[Completion]]) -> None:
    """Equal tokens and ends; log-probabilities up to rounding, which depends on the batch."""
    assert [[(c.token_ids, c.finished) for c in group] for group in left] == [
        [(c.token_ids, c.finished) for c in group] for group in right
    ]
    for a, b in zip(sum(left, []), sum(right, []), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


NO_CODEC: TextCodec = None  # pyright: ignore[reportAssignmentType]: local engines ask for token ids alone


def opened(settings: Any, model: Any) -> Engine:
    return make_engine(settings).open(NO_CODEC, model)


def native_engine(model: nn.Module, batch_size: int) -> Engine:
    return opened(NativeSettings(batch_size=batch_size), model)


def transformers_engine(model: nn.Module, batch_size: int) -> Engine:
    return opened(TransformersSettings(batch_size=batch_size), model)


def generate(
    engine: Engine, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
) -> list[list[Completion]]:
    """A list of completions for each prompt, one for each of its seeds."""
    pairs = [(prompt, seed) for prompt, row in zip(prompts, seeds, strict=True) for seed in row]
    completions = iter(engine.generate([Request(tuple(prompt), seed, sampling) for prompt, seed in pairs]))
    return [[next(completions) for _ in row] for row in seeds]


PROMPTS = prompts_of(3, 40, 1, 17, 9)
SEEDS = [[1], [2, 3, 4], [5, 6], [7], [8, 9]]
SAMPLING = Sampling(max_new_tokens=30, stop_ids=(4, 5))


@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_are_those_of_the_model(name: str) -> None:
    model = make(name)
    groups = generate(native_engine(model, 4), PROMPTS, SEEDS, Sampling(20, temperature=0.8, stop_ids=(4, 5)))
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            written = torch.tensor(completion.token_ids)
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *completion.token_ids]])).logits[0]
            expected = torch.log_softmax(logits[len(prompt) - 1 : -1] / 0.8, -1)
            expected = expected.gather(1, written[:, None]).squeeze(1)
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_native_writes_what_transformers_writes(name: str) -> None:
    model = make(name)
    for temperature in (0.7, 0.0):
        sampling = Sampling(20, temperature, (4, 5))
        same(
            generate(native_engine(model, 6), PROMPTS, SEEDS, sampling),
            generate(transformers_engine(model, 6), PROMPTS, SEEDS, sampling),
        )


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_the_batch_split_changes_nothing(engine: Any, qwen2: nn.Module) -> None:
    whole = generate(engine(qwen2, 64), PROMPTS, SEEDS, SAMPLING)
    for batch_size in (2, 5):
        same(generate(engine(qwen2, batch_size), PROMPTS, SEEDS, SAMPLING), whole)


def test_order_and_company_change_nothing(qwen2: nn.Module) -> None:
    engine = native_engine(qwen2, 4)
    whole = generate(engine, PROMPTS, SEEDS, SAMPLING)
    same(generate(engine, PROMPTS[::-1], SEEDS[::-1], SAMPLING), whole[::-1])
    same(generate(engine, PROMPTS, [row[::-1] for row in SEEDS], SAMPLING), [group[::-1] for group in whole])
    pairs = [(prompt, seed) for prompt, row in zip(PROMPTS, SEEDS, strict=True) for seed in row]
    alone = [generate(engine, [prompt], [[seed]], SAMPLING)[0][0] for prompt, seed in pairs]
    same([alone], [sum(whole, [])])


def test_a_long_run_with_packing_and_a_growing_cache(qwen2: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MIN_ROOM", 3)
    sampling = Sampling(200, stop_ids=(4,))
    prompts, seeds = prompts_of(*range(1, 25)), [[s, s + 100] for s in range(24)]
    groups = generate(native_engine(qwen2, 48), prompts, seeds, sampling)
    lengths = {len(completion.token_ids) for group in groups for completion in group}
    assert len(lengths) > 15 and max(lengths) > 100
    same(groups, generate(transformers_engine(qwen2, 48), prompts, seeds, sampling))


def test_running_rows_counted_seldom_as_on_a_gpu(qwen2: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING)
    monkeypatch.setattr(scheduler, "steps_per_check", lambda device: 7)

    same(generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING), whole)


def test_prompts_of_very_different_lengths(qwen2: nn.Module) -> None:
    """One row's padding spans whole blocks of an attention kernel."""
    prompts, seeds = prompts_of(1200, 2, 600), [[1], [2], [3]]
    sampling = Sampling(8)
    together = generate(native_engine(qwen2, 3), prompts, seeds, sampling)
    same(together, generate(native_engine(qwen2, 1), prompts, seeds, sampling))


def test_small_prefill_chunks_and_unfused_weights(qwen2: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING)
    monkeypatch.setattr(scheduler, "PREFILL_TOKENS", 20)
    monkeypatch.setattr(decoder, "FUSE_BYTES", 0)
    same(generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING), whole)


def test_no_memory_is_read_before_it_is_written(qwen2: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's deterministic mode fills uninitialized memory with NaN; chunks leave some of the padding alone."""
    monkeypatch.setattr(scheduler, "PREFILL_TOKENS", 20)
    monkeypatch.setattr(slots, "MIN_ROOM", 3)
    whole = generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING)
    torch.use_deterministic_algorithms(True)
    try:
        same(generate(native_engine(qwen2, 9), PROMPTS, SEEDS, SAMPLING), whole)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_prompt_is_read_once_for_all_its_samples(qwen2: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    original = decoder.Decoder.prefill

    def counted(self: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(tuple(ids.shape))
        return original(self, ids, *rest)

    monkeypatch.setattr(decoder.Decoder, "prefill", counted)
    generate(native_engine(qwen2, 16), [PROMPTS[1], PROMPTS[3], PROMPTS[1]], [[1, 2], [3, 4], [5]], Sampling(2))
    assert read == [(2, 39)]  # a prompt's last token is the first step's


def test_samples_of_a_prompt_differ_and_equal_seeds_agree(qwen2: nn.Module) -> None:
    [group] = generate(native_engine(qwen2, 8), PROMPTS[:1], [[1, 2, 3, 1]], Sampling(12))
    assert len({completion.token_ids for completion in group}) == 3 and group[0] == group[3]


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_completions_end_at_a_stop_token_or_at_the_limit(engine: Any, qwen2: nn.Module) -> None:
    groups = generate(engine(qwen2, 8), PROMPTS, SEEDS, SAMPLING)
    ends = {completion.finished for group in groups for completion in group}
    assert ends == {True, False}
    for completion in sum(groups, []):
        *body, last = completion.token_ids
        assert len(completion.token_ids) == len(completion.logprobs) <= 30
        assert not set(body) & {4, 5}
        assert completion.finished == (last in (4, 5))
        assert completion.finished or len(completion.token_ids) == 30


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_a_stop_token_drawn_last_still_finishes(engine: Any, qwen2: nn.Module) -> None:
    [[free]] = generate(engine(qwen2, 1), PROMPTS[:1], [[1]], Sampling(5))
    assert not free.finished and len(free.token_ids) == 5
    first = free.token_ids.index(free.token_ids[-1]) + 1
    [[cut]] = generate(engine(qwen2, 1), PROMPTS[:1], [[1]], Sampling(first, stop_ids=(free.token_ids[-1],)))
    assert cut.finished and cut.token_ids == free.token_ids[:first]


def test_greedy_is_that_of_generate(qwen2: nn.Module) -> None:
    reference: Any = qwen2
    prompt = torch.tensor([PROMPTS[1]])
    mask = torch.ones_like(prompt)
    expected = reference.generate(prompt, attention_mask=mask, max_new_tokens=20, do_sample=False)
    [[completion]] = generate(native_engine(qwen2, 1), [PROMPTS[1]], [[3]], Sampling(20, temperature=0.0))
    assert list(completion.token_ids) == expected[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_the_model_is_left_as_it_was(engine: Any) -> None:
    model: Any = make("qwen2")
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    settings = model.generation_config
    settings.repetition_penalty, settings.eos_token_id = 5.0, [1, 2, 3]
    first = generate(engine(model.train(), 8), PROMPTS, SEEDS, SAMPLING)
    assert model.training and model.generation_config is settings
    same(generate(engine(model.eval(), 8), PROMPTS, SEEDS, SAMPLING), first)
    assert not model.training
    same(first, generate(native_engine(make("qwen2"), 8), PROMPTS, SEEDS, SAMPLING))
    model.train()(torch.tensor([PROMPTS[0]])).logits.sum().backward()


def test_new_weights_are_used_at_the_next_call() -> None:
    model = make("qwen2")
    engine = native_engine(model, 8)
    before = generate(engine, PROMPTS, SEEDS, SAMPLING)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    after = generate(engine, PROMPTS, SEEDS, SAMPLING)
    assert after != before
    same(after, generate(transformers_engine(model, 8), PROMPTS, SEEDS, SAMPLING))


def test_bfloat16_stays_close_to_the_model() -> None:
    model = make("qwen2").to(torch.bfloat16)
    [[completion]] = generate(native_engine(model, 8), PROMPTS[1:2], [[1]], Sampling(20))
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPTS[1], *completion.token_ids]])).logits[0].float()
    expected = torch.log_softmax(logits[39:-1], -1).gather(1, torch.tensor(completion.token_ids)[:, None])
    assert torch.tensor(completion.logprobs) == pytest.approx(expected.squeeze(1), abs=0.5)


def test_nothing_asked_gives_nothing(qwen2: nn.Module) -> None:
    for engine in (native_engine(qwen2, 4), transformers_engine(qwen2, 4)):
        assert engine.generate([]) == []


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_requests_with_other_limits_share_a_call(engine: Any, qwen2: nn.Module) -> None:
    limits = [Sampling(5), Sampling(9, 0.5, (4, 5)), Sampling(5)]
    requests = [Request(tuple(PROMPTS[n]), n, sampling) for n, sampling in enumerate(limits)]
    together = engine(qwen2, 4).generate(requests)
    alone = [engine(qwen2, 4).generate([request])[0] for request in requests]
    same([together], [alone])
    assert len(together[0].token_ids) == len(together[2].token_ids) == 5


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_bad_requests_are_refused(engine: Any, qwen2: nn.Module) -> None:
    ready = engine(qwen2, 4)
    with pytest.raises(ValueError, match="request 1 has no prompt tokens"):
        generate(ready, [[1], []], [[1], [2]], SAMPLING)
    for sampling, complaint in {
        Sampling(0): "max_new_tokens",
        Sampling(3, temperature=-1.0): "temperature",
        Sampling(3, stop_ids=(4, 61)): r"stop_ids \[61\]",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            generate(ready, [[1]], [[1]], sampling)


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_an_engine_is_opened_synced_and_closed(engine: Any, qwen2: nn.Module) -> None:
    request = Request((1, 2), 3, Sampling(2))
    with engine(qwen2, 4) as ready:
        assert ready.generate([request])[0].version == 0
        ready.sync(7)
        assert ready.generate([request])[0].version == 7
    with pytest.raises(RuntimeError, match="call open first"):
        ready.generate([request])
    assert ready.open(NO_CODEC, qwen2).generate([request])[0].token_ids
    with pytest.raises(ValueError, match="needs the weights"):
        ready.open(NO_CODEC)


@pytest.mark.parametrize("engine", [native_engine, transformers_engine])
def test_logits_that_are_not_numbers_are_an_error(engine: Any) -> None:
    model: Any = make("qwen2")
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        generate(engine(model, 4), PROMPTS, SEEDS, SAMPLING)


def test_unsupported_models_are_named_with_the_way_out() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=2))
    sliding = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16))
    dynamic = LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=YARN | {"rope_type": "dynamic"}))
    replaced: Any = make("llama")
    replaced.model.layers[1].mlp.up_proj = nn.Sequential(replaced.model.layers[1].mlp.up_proj)
    reasons = {"GPT2LMHeadModel": gpt2, "sliding": sliding, "dynamic": dynamic, "up_proj": replaced}
    for reason, model in reasons.items():
        with pytest.raises(ValueError, match=f"{reason}.*rollout=transformers"):
            native_engine(model, 4)
    [[completion]] = generate(transformers_engine(gpt2, 4), [[1, 2]], [[1]], Sampling(5))
    assert len(completion.token_ids) == 5


def test_settings_name_their_engine(qwen2: nn.Module) -> None:
    assert isinstance(make_engine(NativeSettings()), NativeEngine)
    assert isinstance(make_engine(TransformersSettings()), TransformersEngine)
    assert make_engine(NativeSettings()).capabilities.follows_training
