"""What a collector hands to the grader, what its samples and rows say, and its hashes."""

from collections.abc import Sequence
from typing import Any

import pytest

from budgetrl.core.records import Completion, Problem, Request, Sampling
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.formats.registry import make_format
from budgetrl.grading.verifier import Verifier
from budgetrl.policy.loading import make_codec
from budgetrl.rollout.collect import Collector
from budgetrl.settings.model import ModelSettings

PROBLEM = Problem("p", "a 2 b 1 ?", "3", level=1)
CODEC = make_codec(make_tokenizer("digits"), ModelSettings())


class Scripted:
    """An engine that gives the same text for every request, cut off or not."""

    def __init__(self, text: str, finished: bool) -> None:
        self.text, self.finished = text, finished

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        ids = (*CODEC.tokenizer.encode(self.text, add_special_tokens=False), *CODEC.stop_ids[: int(self.finished)])
        completion = Completion(ids, (0.0,) * len(ids), "stop" if self.finished else "length")
        return [completion for _ in requests]


def collector(name: str, text: str = r"3 = \boxed{ 3 }", finished: bool = True, temperature: float = 1.0) -> Collector:
    sampling = Sampling(9, temperature, CODEC.stop_ids)
    engine: Any = Scripted(text, finished)
    fmt = make_format(name, {"instruction": "in {budget}" if name == "prompt_budget" else ""})
    return Collector(engine, CODEC, Verifier(), fmt, sampling, b_max={"p": 80}, repetition_ngram=2)


@pytest.mark.parametrize("finished", [True, False])
def test_a_right_number_at_the_end_of_a_cut_off_text_is_no_answer(finished: bool) -> None:
    ((first, second),) = collector("plain", finished=finished).collect([PROBLEM], [[1, 2]])
    assert first.outcome == second.outcome
    outcome = first.outcome
    assert (outcome.correct, outcome.well_formed, outcome.truncated) == (finished, finished, not finished)
    assert first.verdict.correct
    assert (outcome.problem_id, outcome.level, outcome.b_max, outcome.length) == ("p", 1, 80, 5)


@pytest.mark.parametrize(
    ("name", "given", "budget"), [("plain", None, None), ("budget", 12, 12), ("prompt_budget", 7, 7)]
)
def test_the_budget_of_an_outcome_is_the_one_written_pre_filled_or_asked_for(
    name: str, given: int | None, budget: int | None
) -> None:
    text = r"<solution> 3 = \boxed{ 3 }</solution>" if name == "budget" else r"3 = \boxed{ 3 }"
    ((sample,),) = collector(name, text).collect([PROBLEM], [[1]], [given])
    assert (sample.outcome.budget, sample.outcome.correct) == (budget, True)


def test_repetition_is_of_the_body() -> None:
    ((sample,),) = collector("plain", " 3 3 3 3").collect([PROBLEM], [[1]])
    assert sample.outcome.repetition == pytest.approx(2 / 3)


def test_the_row_of_a_sample() -> None:
    ((sample,),) = collector("plain").collect([PROBLEM], [[1]])
    row = sample.row
    assert (row["problem_id"], row["problem"], row["answer"]) == ("p", "a 2 b 1 ?", "3")
    assert (row["text"], row["given_answer"], row["b_max"]) == (sample.response.text, "3", 80)


def test_hashes_are_of_how_completions_are_drawn_and_not_of_the_budget_that_is_asked_for() -> None:
    def hashes(name: str, temperature: float = 1.0, samples: int = 1) -> dict[str, str]:
        return collector(name, temperature=temperature).hashes([PROBLEM], samples)

    def differ(one: dict[str, str], other: dict[str, str]) -> set[str]:
        return {key for key in one if one[key] != other[key]}

    plain = hashes("plain")
    assert differ(plain, hashes("plain", temperature=0.5)) == {"sampling"}
    assert differ(plain, hashes("plain", samples=2)) == {"sampling"}
    assert differ(plain, hashes("prompt_budget")) == {"prompt"}
    assert differ(hashes("prompt_budget"), hashes("prompt_budget")) == set()
