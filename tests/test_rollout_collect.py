"""From problems to graded samples: what is asked of the engine, and which completion goes with which problem."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from budgetrl.core.records import Completion, Problem, Request, Sampling
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import make_codec
from budgetrl.rollout.collect import Collector, collect_on_all_ranks
from budgetrl.settings.model import ModelSettings

PROBLEMS = [Problem("one", "1 + 2", "3"), Problem("two", "2 + 2", "4")]
SAMPLING = Sampling(max_new_tokens=9, stop_ids=(1,))


class Echo:
    """An engine that answers with the seed of each request, cut off where it is odd."""

    def __init__(self, codec: TextCodec) -> None:
        self.codec = codec
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.asked += requests
        return [self._completion(request.seed) for request in requests]

    def _completion(self, seed: int) -> Completion:
        ids = self.codec.tokenizer.encode(f" {seed}", add_special_tokens=False)
        return Completion(tuple(ids), (0.0,) * len(ids), "length" if seed % 2 else "stop")


def collector() -> Collector:
    codec = make_codec(make_tokenizer(), ModelSettings())
    engine: Any = Echo(codec)
    return Collector(engine, codec, Verifier(), PlainFormat(), SAMPLING)


def test_each_problem_gets_a_sample_for_each_of_its_seeds() -> None:
    ours: Any = collector()
    first, second = ours.collect(PROBLEMS, [[3, 4], [8, 4, 2]])
    assert [sample.response.text.strip() for sample in first] == ["3", "4"]
    assert [sample.response.text.strip() for sample in second] == ["8", "4", "2"]
    assert {sample.problem.id for sample in first} == {"one"}
    assert [sample.outcome.truncated for sample in first] == [True, False]
    prompts = [prompt.all_ids for prompt in ours.prompts(PROBLEMS, [None, None])]
    assert [request.prompt_ids for request in ours.engine.asked] == [prompts[0]] * 2 + [prompts[1]] * 3
    assert {request.sampling for request in ours.engine.asked} == {SAMPLING}


def test_each_rank_generates_its_share() -> None:
    shared: list[list[object]] = []

    def share(items: Sequence[object]) -> list[object]:
        shared.append([*items])
        return [*items][1:]

    world: Any = SimpleNamespace(share=share, merge=lambda groups: ["of another rank", *groups])
    other, ours = collect_on_all_ranks(collector(), PROBLEMS, [[1], [2]], [None, None], world)
    assert other == "of another rank" and ours[0].problem.id == "two"
    assert shared == [PROBLEMS, [[1], [2]], [None, None]]
