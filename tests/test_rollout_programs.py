"""Programs of decoding methods: every engine gives the same answers, and so does a plain loop over the model."""

import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.core.seeds import derive_seed
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Piece, Program, Start
from budgetrl.decoding.budget_cap import BudgetCap
from budgetrl.decoding.sampling import PlainSampling
from budgetrl.decoding.two_budgets import TwoBudgets
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.rollout import scheduler, slots
from budgetrl.rollout.decoder import Decoder
from budgetrl.rollout.draws import draw, uniforms
from budgetrl.rollout.engine import Engine, make_engine
from budgetrl.rollout.generation import Generation
from budgetrl.rollout.programs import AnswerRequest, RunningProgram
from budgetrl.rollout.scheduler import Job
from budgetrl.settings.rollout.native import NativeSettings
from budgetrl.settings.rollout.transformers import TransformersSettings
from tiny_llama import tiny_llama

WORDS = ["<eos>", "</think>", "<think>", "<solution>", "</solution>", "<budget>", "</budget>", " \\boxed{", "}"]
VOCABULARY = 48
WORDS += [f" {n}" for n in range(VOCABULARY - len(WORDS))]
END = 0
SAMPLING = Sampling(60, stop_ids=(END,))


class Words:
    """A codec whose tokens are whole words."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(WORDS[i] for i in ids)

    def encode(self, text: str) -> tuple[int, ...]:
        return (WORDS.index(text),) if text else ()


CODEC: Any = Words()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tiny_llama(1, VOCABULARY)


def native(model: nn.Module, batch_size: int = 4) -> Engine:
    return make_engine(NativeSettings(batch_size=batch_size)).open(CODEC, model)  # pyright: ignore[reportArgumentType]


def reference(model: nn.Module, batch_size: int = 4) -> Engine:
    return make_engine(TransformersSettings(batch_size=batch_size)).open(CODEC, model)  # pyright: ignore[reportArgumentType]


def prompt(length: int) -> tuple[int, ...]:
    generator = random.Random(length)
    return tuple(generator.randrange(9, VOCABULARY) for _ in range(length))


def answers(
    engine: Engine,
    method: DecodingMethod,
    count: int = 12,
    fmt: ResponseFormat | None = None,
    prefix: tuple[int, ...] = (),
    sampling: Sampling = SAMPLING,
) -> list[Completion]:
    programs: list[RunningProgram] = []
    for n in range(count):
        start = Start(fmt or PlainFormat(), CODEC, sampling.max_new_tokens, CODEC.decode(prefix))
        programs.append(RunningProgram(method, AnswerRequest(prompt(1 + n % 5) + prefix, 100 + n, sampling, start)))
    engine.run_programs(programs)
    return [program.completion(engine.version) for program in programs]


def same(left: Sequence[Completion], right: Sequence[Completion]) -> None:
    """Assert equal completions, except for `tokens_read`, which depends on the engine, and rounding."""
    for a, b in zip(left, right, strict=True):
        assert replace(a, logprobs=(), tokens_read=0) == replace(b, logprobs=(), tokens_read=0)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_plain_sampling_as_a_program_is_plain_sampling(model: nn.Module) -> None:
    requests = [Request(prompt(1 + n % 5), 100 + n, SAMPLING) for n in range(12)]
    same(answers(native(model), PlainSampling()), native(model).generate(requests))


@dataclass(frozen=True)
class InParts(DecodingMethod):
    """Samples an answer in parts of `part` tokens. The result is the same as in a single request."""

    name: str = "in_parts"
    part: int = 5

    def program(self, start: Start) -> Program:
        piece = start.root
        while not piece.ended and piece.position < start.max_new_tokens:
            left = start.max_new_tokens - piece.position
            [piece] = yield [Continue(piece, min(self.part, left))]
        return Answer(piece, "stop" if piece.ended else "length")


@dataclass(frozen=True)
class RandomTree(DecodingMethod):
    """Continues, rolls back, forks and forces tokens at random. Only `seed` and which pieces ended decide its moves."""

    name: str = "random_tree"
    seed: int = 0
    moves: int = 6

    def program(self, start: Start) -> Program:
        rng = random.Random(self.seed)
        known = [start.root]
        for move in range(self.moves):
            after = rng.choice(known)
            asked: list[Continue] = []
            for branch in range(rng.randint(1, 3)):
                forced = tuple(rng.randrange(9, VOCABULARY) for _ in range(rng.randint(0, 2)))
                origin = after if rng.random() < 0.7 else rng.choice(known)
                asked.append(Continue(origin, rng.randint(1, 9), forced, branch=10 * move + branch))
            pieces = yield asked
            known += [piece for piece in pieces if not piece.ended]
            if rng.random() < 0.3:
                known = [known[0], *rng.sample(known[1:], k=len(known) // 2)]
        last = rng.choice(known)
        return Answer(last, "length")


def test_an_answer_in_parts_is_the_same_answer(model: nn.Module) -> None:
    whole = answers(native(model), PlainSampling())
    for engine in (native(model), native(model, 1), native(model, 30), reference(model)):
        parts = answers(engine, InParts())
        same(parts, whole)
        assert all(part.tokens_discarded == 0 for part in parts)
    assert all(part.tokens_read == 0 for part in answers(native(model), InParts()))


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 9), st.integers(1, 300))
def test_forks_and_rollbacks_are_the_same_on_every_engine(seed: int, slots_: int, look: int, room: int) -> None:
    """With any number of slots, any number of steps per check, and a cache that moves often."""
    tiny = tiny_llama(1, VOCABULARY, hidden=16, spread=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "steps_per_check", lambda device: look)
        patch.setattr(slots, "MIN_ROOM", room)
        by_native = answers(native(tiny, slots_), RandomTree(seed=seed), 6)
    same(by_native, answers(reference(tiny, 5), RandomTree(seed=seed), 6))


def reference_two_budgets(
    model: Any, prompt_ids: tuple[int, ...], seed: int, how: TwoBudgets
) -> tuple[list[int], set[int], str]:
    """Run two_budgets as a loop over the model: one token at a time, without a cache. Returns ids, forced, reason."""
    ids: list[int] = []
    forced: set[int] = set()

    def next_token() -> int:
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt_ids, *ids]])).logits[:, -1]
        token, _ = draw(logits, uniforms(torch.tensor([seed]), len(ids)), 1.0)
        return int(token)

    closed = False
    while len(ids) < how.thinking and not closed:
        ids.append(next_token())
        if ids[-1] == END:
            return ids, forced, "stop"
        closed = WORDS[ids[-1]] in ("</think>", " \\boxed{")
    by_itself = closed
    if not closed:
        forced.add(len(ids))
        ids.append(WORDS.index(" \\boxed{"))
    for _ in range(how.answer):
        ids.append(next_token())
        if ids[-1] == END:
            return ids, forced, "stop" if by_itself else "forced_close"
    return ids, forced, "length"


FORMAT = PlainFormat(answer_prefix=" \\boxed{")


@pytest.mark.parametrize("engine", [native, reference])
def test_two_budgets_equals_a_token_by_token_loop(model: nn.Module, engine: Any) -> None:
    how = TwoBudgets(thinking=12, answer=25)
    completions = answers(engine(model), how, 24, FORMAT)
    reasons: set[str] = set()
    for n, completion in enumerate(completions):
        ids, forced, reason = reference_two_budgets(model, prompt(1 + n % 5), 100 + n, how)
        assert (list(completion.token_ids), completion.forced, completion.finish_reason) == (ids, forced, reason)
        assert all(completion.logprobs[place] == 0 for place in forced)
        reasons.add(reason)
    assert reasons == {"stop", "forced_close", "length"}


def test_thinking_in_tags_is_closed_with_the_end_tag(model: nn.Module) -> None:
    think, close = WORDS.index("<think>"), WORDS.index("</think>")
    for completion in answers(native(model), TwoBudgets(thinking=3, answer=2), 24, FORMAT, (think,)):
        for place in completion.forced:
            assert completion.token_ids[place] == close and close not in completion.token_ids[:place]


def test_closed_is_truncated_decides_whether_forced_closes_are_finished(model: nn.Module) -> None:
    for closed_is_truncated in (False, True):
        how = TwoBudgets(thinking=3, answer=200, closed_is_truncated=closed_is_truncated)
        closed = [c for c in answers(native(model), how, 24, FORMAT) if c.finish_reason == "forced_close"]
        assert closed and all(c.finished is not closed_is_truncated for c in closed)


def test_a_response_is_stopped_at_a_multiple_of_its_budget(model: nn.Module) -> None:
    """The budget is pre-filled. The cap counts tokens after `<solution>`."""
    fmt = BudgetFormat(answer_prefix=" \\boxed{")
    prefix = tuple(WORDS.index(word) for word in ("<budget>", " 7", "</budget>"))
    how = BudgetCap(multiple=2, answer=4)
    stopped = 0
    for completion in answers(native(model), how, 40, fmt, prefix, replace(SAMPLING, max_new_tokens=200)):
        words = [WORDS[i] for i in completion.token_ids]
        if completion.forced:
            [place] = completion.forced
            body = place - words.index("<solution>") - 1
            assert body == 14 and words[place] == " \\boxed{" and len(words) - place - 1 <= 4
            stopped += 1
    assert stopped > 5


@dataclass(frozen=True)
class DiscardedBranch(DecodingMethod):
    """Samples three tokens, discards them, and samples others."""

    name: str = "discarded_branch"

    def program(self, start: Start) -> Program:
        [head] = yield [Continue(start.root, 4)]
        yield [Continue(head, 3, branch=1)]
        [rest] = yield [Continue(head, 5)]
        return Answer(rest, "length")


def test_every_token_is_counted(model: nn.Module) -> None:
    sampling = replace(SAMPLING, stop_ids=())
    for engine, read in ((native(model), 0), (reference(model), None)):
        for n, completion in enumerate(answers(engine, DiscardedBranch(), 6, sampling=sampling)):
            assert len(completion.token_ids) == 9
            assert completion.tokens_discarded == 3 and completion.tokens_spent == 12
            reread = 2 * (len(prompt(1 + n % 5)) + 4)  # prompt and head, for each of the two later requests
            assert completion.tokens_read == (reread if read is None else read)


def test_a_discarded_branch_does_not_change_the_answer(model: nn.Module) -> None:
    sampling = Sampling(9)
    with_branch = answers(native(model), DiscardedBranch(), 6, sampling=sampling)
    without = answers(native(model), PlainSampling(), 6, sampling=sampling)
    assert [c.token_ids for c in with_branch] == [c.token_ids for c in without]


def test_branches_have_different_seeds() -> None:
    assert derive_seed(5, 1) != derive_seed(5, 2) != 5


@dataclass(frozen=True)
class EmptyRequest(DecodingMethod):
    name: str = "empty"

    def program(self, start: Start) -> Program:
        yield []
        return Answer(start.root, "stop")


def test_a_program_that_yields_an_empty_list_is_an_error(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="decoding=empty: its program yielded an empty list"):
        answers(native(model), EmptyRequest(), 1)


def test_pieces_know_their_path() -> None:
    root = Piece()
    first = Piece(root, (1, 2), (0.0, 0.0))
    second = Piece(first, (3,), (0.0,))
    assert second.path() == [first, second] and second.answer_ids() == (1, 2, 3) and root.answer_ids() == ()


def test_a_stop_string_of_the_settings_ends_the_answer_in_a_program_too(model: nn.Module) -> None:
    sampling = replace(SAMPLING, stop_strings=(" 5", " 11", " 17"))
    plain = native(model).generate([Request(prompt(1 + n % 5), 100 + n, sampling) for n in range(24)])
    stopped = [n for n, completion in enumerate(plain) if WORDS[completion.token_ids[-1]] in sampling.stop_strings]
    assert len(stopped) > 5
    same(answers(native(model), InParts(), 24, sampling=sampling), plain)


def test_min_tokens_counts_the_tokens_of_the_whole_answer(model: nn.Module) -> None:
    sampling = replace(SAMPLING, min_tokens=13)
    plain = native(model).generate([Request(prompt(1 + n % 5), 100 + n, sampling) for n in range(24)])
    assert min(len(completion.token_ids) for completion in plain) > 13
    same(answers(native(model), InParts(), 24, sampling=sampling), plain)


@dataclass(frozen=True)
class Twins(DecodingMethod):
    """Forks once, and continues one of the two pieces; yields the same list object twice."""

    name: str = "twins"

    def program(self, start: Start) -> Program:
        _, second = yield [Continue(start.root, 3, branch=n) for n in (1, 2)]
        requests = [Continue(second, 2)]
        [piece] = yield requests
        requests[0] = Continue(piece, 2)
        [piece] = yield requests
        return Answer(piece, "length")


def test_no_copy_of_the_cache_outlives_its_use(model: nn.Module) -> None:
    sampling = replace(SAMPLING, stop_ids=())
    assert all(
        len(completion.token_ids) == 7 for completion in answers(native(model, 3), Twins(), 30, sampling=sampling)
    )
    # Groups of eight in three slots: their prompts are parked. The jobs are still held here when all have ended.
    jobs = [Job(Generation(Request(prompt(4 + n // 8), n, Sampling(2 + n % 3))), lambda job: None) for n in range(64)]
    engine = scheduler.Scheduler(Decoder(model), 3, CODEC.decode)
    with torch.inference_mode():
        for job in jobs:
            engine.submit(job)
        engine.run()
    assert all(job.parked is None for job in jobs)
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, slots.Parked)]


def test_a_program_that_needs_no_request(model: nn.Module) -> None:
    @dataclass(frozen=True)
    class Silent(DecodingMethod):
        name: str = "silent"

        def program(self, start: Start) -> Program:
            yield from ()
            return Answer(start.root, "stop")

    for engine in (native(model), reference(model)):
        assert answers(engine, Silent(), 2)[0].token_ids == ()


def test_a_request_for_no_token_is_refused(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="decoding=in_parts: a request must ask for 1 token or more, got 0"):
        answers(native(model), InParts(part=0), 1)


@pytest.mark.parametrize("room", [-3, 0, 1, 4])
def test_a_forced_answer_stays_within_the_stages_limit(model: nn.Module, room: int) -> None:
    """`room` tokens are left after 12 of thinking and a close of one token."""
    sampling = replace(SAMPLING, max_new_tokens=13 + room)
    completions = answers(native(model), TwoBudgets(thinking=12, answer=25), 24, FORMAT, sampling=sampling)
    full = [completion for completion in completions if len(completion.token_ids) >= 12]
    assert full and all(len(completion.token_ids) <= max(12, 13 + room) for completion in full if completion.forced)
    assert any(completion.forced for completion in full) is (room > 0)
