"""Sampling options and interventions: both local engines agree, and each option does what it says."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.rollout import scheduler
from budgetrl.rollout import slots as slots_module
from budgetrl.rollout.decoder import Decoder
from budgetrl.rollout.draws import Distributions, draw_from
from budgetrl.rollout.engine import Engine, make_engine
from budgetrl.rollout.generation import Generation
from budgetrl.rollout.interventions import Intervention, StepRows
from budgetrl.rollout.scheduler import Job, Scheduler
from budgetrl.settings.rollout.native import NativeSettings
from budgetrl.settings.rollout.transformers import TransformersSettings
from tiny_llama import tiny_llama

VOCABULARY = 40
PLAIN = Sampling(24, stop_ids=(3,))


class Letters:
    """A codec whose tokens are single letters."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("A") + i) for i in ids)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tiny_llama(2, VOCABULARY, layers=3)


def opened(settings: Any, model: nn.Module) -> Engine:
    codec: Any = Letters()
    whole: Any = model
    return make_engine(settings).open(codec, whole)


def native(model: nn.Module) -> Engine:
    return opened(NativeSettings(batch_size=5), model)


def reference(model: nn.Module) -> Engine:
    return opened(TransformersSettings(batch_size=5), model)


def ask(engine: Engine, samplings: Sequence[Sampling], **more: Any) -> list[Completion]:
    requests = [Request((5 + n % 3, 7), 10 + n, sampling, **more) for n, sampling in enumerate(samplings)]
    return engine.generate(requests)


def same(left: Sequence[Completion], right: Sequence[Completion]) -> None:
    for a, b in zip(left, right, strict=True):
        assert replace(a, logprobs=()) == replace(b, logprobs=())
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


OPTIONS = {
    "top_k": replace(PLAIN, top_k=3),
    "top_p": replace(PLAIN, top_p=0.7),
    "min_p": replace(PLAIN, min_p=0.2, temperature=0.8),
    "penalty": replace(PLAIN, repetition_penalty=1.6),
    "penalty, greedy": replace(PLAIN, repetition_penalty=1.6, temperature=0.0),
    "min_tokens": replace(PLAIN, min_tokens=12),
    "stop string": replace(PLAIN, stop_strings=("JK", "Z")),
    "all": Sampling(24, 0.7, (3,), ("Q",), 4, 9, 0.9, 0.01, 1.2),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_both_engines_agree(model: nn.Module, name: str) -> None:
    same(ask(native(model), [OPTIONS[name]] * 9), ask(reference(model), [OPTIONS[name]] * 9))


def test_requests_with_different_options_share_a_batch(model: nn.Module) -> None:
    """Each completion is the same as if its request were alone."""
    samplings = [*OPTIONS.values(), PLAIN, replace(PLAIN, temperature=0.5)]
    together = ask(native(model), samplings)
    for n, sampling in enumerate(samplings):
        alone = native(model).generate([Request((5 + n % 3, 7), 10 + n, sampling)])
        same(alone, [together[n]])


def test_min_tokens_bans_earlier_end_tokens(model: nn.Module) -> None:
    plain = ask(native(model), [PLAIN] * 30)
    late = ask(native(model), [replace(PLAIN, min_tokens=12)] * 30)
    assert min(len(completion.token_ids) for completion in plain) < 12
    assert all(len(c.token_ids) > 12 or c.finish_reason == "length" for c in late)
    assert any(c.finish_reason == "stop" for c in late)


def test_a_stop_string_ends_a_completion_with_the_token_that_completes_it(model: nn.Module) -> None:
    letters = Letters()
    stopped = 0
    plain = ask(native(model), [replace(PLAIN, stop_ids=())] * 30)
    cut = ask(native(model), [replace(PLAIN, stop_ids=(), stop_strings=("J", "KL"))] * 30)
    for whole, part in zip(plain, cut, strict=True):
        text = letters.decode(whole.token_ids)
        places = [text.find(stop) + len(stop) for stop in ("J", "KL") if stop in text]
        expected = min(places, default=len(text))
        assert part.token_ids == whole.token_ids[:expected]
        assert part.finish_reason == ("stop" if places else "length")
        stopped += bool(places)
    assert 5 < stopped < 30


def of(**options: float) -> Distributions:
    fields: dict[str, Any] = dict(options)
    return Distributions.of([Sampling(1, **fields)], 4, torch.device("cpu"))


LOGITS = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]]))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.4}, {1}),  # the first token alone reaches it
        ({"top_p": 0.41}, {1, 2}),
        ({"top_p": 0.75}, {1, 2, 3}),
        ({"min_p": 0.45}, {1, 2, 3}),  # 0.45 * 0.4 = 0.18
        ({"min_p": 0.6}, {1, 2}),
        ({"top_k": 3, "top_p": 0.7}, {1, 2}),  # top-k keeps 0.4, 0.3, 0.2, renormalized to 0.44, 0.33, 0.22
        ({"temperature": 0.0, "top_k": 3}, {1}),
    ],
)
def test_truncated_distributions_match_hand_computed_ones(options: dict[str, float], kept: set[int]) -> None:
    drawn: set[int] = set()
    probabilities = LOGITS.exp().squeeze(0)
    total = sum(float(probabilities[i]) for i in kept)
    for uniform in torch.linspace(0.001, 0.999, 97):
        ids, logprobs = draw_from(LOGITS, uniform[None], of(**options), None)
        drawn.add(int(ids))
        if options.get("temperature") != 0:
            assert logprobs.exp().item() == pytest.approx(float(probabilities[int(ids)]) / total, rel=1e-4)
    assert drawn == kept


def test_repetition_penalty_is_that_of_ctrl() -> None:
    """Positive logits of seen tokens are divided by the penalty, negative ones multiplied."""
    logits = torch.tensor([[2.0, -1.0, 1.5, -4.0]])
    seen = torch.tensor([[True, True, False, False]])
    expected = torch.log_softmax(torch.tensor([1.0, -2.0, 1.5, -4.0]), -1)
    for uniform in torch.linspace(0.01, 0.99, 31):
        ids, logprobs = draw_from(logits, uniform[None], of(repetition_penalty=2.0), seen)
        assert logprobs.item() == pytest.approx(float(expected[int(ids)]), abs=1e-5)


class Shift(Intervention):
    """Adds a constant to the output of layer 1, and to the logit of token 9 after the third token."""

    layers = (1,)

    def __init__(self) -> None:
        self.rows_seen: set[int] = set()

    def edit_hidden(self, layer: int, hidden: Tensor, rows: StepRows) -> Tensor:
        assert layer == 1 and len(hidden) == len(rows.requests)
        return hidden + 0.5 + 0.1 * rows.lengths[:, None]

    def edit_logits(self, logits: Tensor, rows: StepRows) -> Tensor:
        self.rows_seen.update(request.seed for request in rows.requests)
        bonus = torch.zeros_like(logits)
        bonus[:, 9] = (rows.lengths >= 3).float() * 2
        return logits + bonus


@pytest.mark.parametrize("look", [1, 6])
def test_an_intervention_acts_only_on_its_own_rows(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(scheduler, "steps_per_check", lambda device: look)
    shift = Shift()
    requests: list[Request] = []
    for n in range(12):
        requests.append(Request((5 + n % 3, 7), 10 + n, PLAIN, intervention=shift if n % 2 else None))
    mixed = native(model).generate(requests)
    assert shift.rows_seen == {11, 13, 15, 17, 19, 21}
    same(mixed, reference(model).generate(requests))
    plain = native(model).generate([replace(request, intervention=None) for request in requests])
    same(mixed[::2], plain[::2])
    assert all(mixed[n].token_ids != plain[n].token_ids for n in range(1, 12, 2))


@pytest.mark.parametrize("look", [1, 5])
def test_on_tokens_receives_new_tokens_at_every_check(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(scheduler, "steps_per_check", lambda device: look)
    letters = Letters()
    engine = Scheduler(Decoder(model), 2, letters.decode)
    heard: list[list[tuple[int, float]]] = [[], [], []]
    jobs: list[Job] = []
    for n, stream in enumerate(heard):

        def hear(ids: Sequence[int], logprobs: Sequence[float], stream: list[tuple[int, float]] = stream) -> None:
            stream += zip(ids, logprobs, strict=True)

        jobs.append(Job(Generation(Request((5 + n, 7), 10 + n, PLAIN)), lambda job: None, hear))
        engine.submit(jobs[-1])
    with torch.inference_mode():
        engine.advance()
        assert [len(stream) for stream in heard] == [look, look, 0]  # two slots: the third waits
        engine.run()
    for job, stream in zip(jobs, heard, strict=True):
        assert stream == list(zip(job.generation.token_ids, job.generation.logprobs, strict=True))
        assert job.generation.finish_reason


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 8))
def test_a_sequence_is_the_same_among_many_that_come_and_go(seed: int, slots: int, look: int) -> None:
    """200 requests of any kind join while others run; each ends as it does alone."""
    rng = random.Random(seed)
    tiny = tiny_llama(3, VOCABULARY, hidden=16, spread=0.4)
    requests: list[Request] = []
    for n in range(200):
        prompt = tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice((1, 2, 9, 60))))
        sampling = replace(rng.choice(list(OPTIONS.values())), max_new_tokens=rng.randint(1, 50))
        forced = tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice((0, 0, 3))))
        requests.append(Request(prompt, n, sampling if n % 2 else replace(PLAIN, max_new_tokens=40), forced))
    jobs = [Job(Generation(request), lambda job: None) for request in requests]
    waiting = list(jobs)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(scheduler, "steps_per_check", lambda device: look)
        patch.setattr(slots_module, "MIN_ROOM", rng.choice((3, 50, 256)))
        engine = Scheduler(Decoder(tiny), slots, Letters().decode)
        while waiting or not engine.is_idle:
            for _ in range(min(len(waiting), rng.choice((0, 0, 1, 30)))):
                engine.submit(waiting.pop())
            if not engine.is_idle:
                engine.advance()
    for n in rng.sample(range(200), 25):
        [alone] = native(tiny).generate([requests[n]])
        same([jobs[n].generation.completion(0)], [alone])


def test_a_canceled_job_leaves_at_once(model: nn.Module) -> None:
    engine = Scheduler(Decoder(model), 2, Letters().decode)
    jobs = [
        Job(Generation(Request((5 + n, 7), 10 + n, replace(PLAIN, stop_ids=()))), lambda job: None) for n in range(4)
    ]
    with torch.inference_mode():
        for job in jobs:
            engine.submit(job)
        engine.advance()
        engine.cancel(jobs[0])  # runs
        engine.cancel(jobs[3])  # waits
        engine.run()
    assert [job.generation.finish_reason for job in jobs] == ["aborted", "length", "length", "aborted"]
    for n in (1, 2):
        same([jobs[n].generation.completion(0)], native(model).generate([jobs[n].request]))


@pytest.mark.slow
def test_memory_is_flat_over_many_sequences(model: nn.Module) -> None:
    """The cache does not grow while many sequences join and leave."""
    engine = Scheduler(Decoder(model), 64, Letters().decode)
    sizes: list[int] = []
    with torch.inference_mode():
        for start in range(0, 20_000, 1000):
            for n in range(start, start + 1000):
                request = Request((n % VOCABULARY, 7), n, Sampling(1 + n % 5, stop_ids=(3,)))
                engine.submit(Job(Generation(request), lambda job: None))
            engine.run()
            sizes.append(engine.cache_columns)
    assert max(sizes) < 2 * min(sizes)
