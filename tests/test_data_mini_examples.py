"""What a base model learns from: batches of solutions, with hints and weights."""

from random import Random

import pytest

from budgetrl.data.mini import sums
from budgetrl.data.mini.examples import BATCHES_PER_SHUFFLE, DECISIONS, Solutions, draw_example
from budgetrl.data.mini.model import make_tokenizer

TOKENS = 500


@pytest.fixture(scope="module")
def solutions() -> Solutions:
    return Solutions(sums, make_tokenizer(), seed=1, tokens_per_step=TOKENS, hinted_share=0.5)


def test_a_batch_follows_from_seed_and_step(solutions: Solutions) -> None:
    other = Solutions(sums, make_tokenizer(), seed=1, tokens_per_step=TOKENS, hinted_share=0.5)
    for step in (0, 5, BATCHES_PER_SHUFFLE, 3):
        assert solutions.batch(step) == other.batch(step)
    assert solutions.batch(0) != solutions.batch(1)
    assert solutions.batch(0) != solutions.batch(BATCHES_PER_SHUFFLE)


def test_a_batch_holds_solutions_of_like_length_within_its_tokens(solutions: Solutions) -> None:
    for step in range(20):
        sizes = [solution.size for solution in solutions.batch(step)]
        assert len(sizes) == 1 or len(sizes) * max(sizes) <= TOKENS
        assert sizes == sorted(sizes)


def test_every_solution_ends_with_the_end_token(solutions: Solutions) -> None:
    ends = {solution.response_ids[-1] for solution in solutions.batch(0)}
    assert ends == {solutions.tokenizer.eos_token_id}


def test_words_that_decide_the_length_weigh_more(solutions: Solutions) -> None:
    for plain, weighted in zip(solutions.batch(2), solutions.weighted_batch(2, 5.0), strict=True):
        assert plain.weights is None
        assert (plain.prompt_ids, plain.response_ids) == (weighted.prompt_ids, weighted.response_ids)
        words = [solutions.tokenizer.convert_ids_to_tokens(token) for token in weighted.response_ids]
        assert weighted.weights == tuple(5.0 if str(word).removeprefix("▁") in DECISIONS else 1.0 for word in words)


@pytest.mark.parametrize(("share", "tags"), [(0.0, 0), (1.0, 1)])
def test_the_share_of_hinted_prompts(share: float, tags: int) -> None:
    rng = Random(0)
    for _ in range(20):
        prompt, solution = draw_example(sums, rng, share)
        assert prompt.startswith("<user> a ") and prompt.endswith("<assistant>")
        assert prompt.count("<budget>") == prompt.count("</budget>") == tags
        assert solution.startswith(" plan ")
