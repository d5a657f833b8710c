"""The cosine reward's repetition penalty: what a wrong answer gains by looping, and the penalty that prevents it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Outcome
from budgetrl.grading.repetition import repetition
from budgetrl.rewards.cosine import Cosine

L_MAX = 14336
NGRAM = Cosine.repetition_ngram


def looped_share(honest: int, length: int) -> float:
    """Share of repeated n-grams in `honest` tokens without repetition, whose end is then repeated up to `length`."""
    ngrams = length - NGRAM + 1
    return max(0.0, 1 - honest / ngrams) if ngrams > 0 else 0.0


def gain(penalty: float, honest: int, length: int, max_length: int = L_MAX) -> float:
    """What a wrong answer of `honest` tokens gains if it loops up to `length` tokens."""
    reward = Cosine(repetition_penalty=penalty, max_length=max_length)
    stops = Outcome(well_formed=True, correct=False, length=honest)
    loops = Outcome(well_formed=True, correct=False, length=length, repetition=looped_share(honest, length))
    before, after = reward([stops, loops], progress=0)
    return after - before


@given(honest=st.integers(50, 300), period=st.integers(1, 50), length=st.integers(300, 600))
def test_the_share_is_that_of_a_text_which_repeats_its_end(honest: int, period: int, length: int) -> None:
    text = list(range(honest))
    while len(text) < length:
        text.append(text[-period])
    assert repetition(text, NGRAM) == pytest.approx(looped_share(honest, length))


def test_the_default_penalty_leaves_a_gain() -> None:
    assert gain(-10, 4300, 13300) == pytest.approx(1.05, abs=0.01)
    assert max(gain(-10, honest, 13600) for honest in range(100, 13600, 100)) > 1.1


@pytest.mark.parametrize("max_length", [420, 4096, L_MAX])
def test_a_penalty_of_12_leaves_only_the_tokens_that_complete_no_ngram(max_length: int) -> None:
    """The first 39 tokens of a loop repeat no n-gram of 40. The cosine rises by at most 5 pi / max_length a token."""
    unnoticed = 5 * math.pi * (NGRAM - 1) / max_length
    step = max(1, max_length // 300)
    for honest in range(0, max_length, step):
        for length in range(honest, max_length + 1, step):
            assert gain(-12, honest, length, max_length) <= unnoticed


def test_the_plan_warns_about_a_penalty_that_leaves_a_gain_and_names_one_that_does_not() -> None:
    (warning,) = Cosine().warnings()
    assert str(warning) == (
        "reward.repetition_penalty: with -10, a wrong answer can gain by repeating itself up to max_length; set -12 to "
        "prevent it"
    )
    assert not Cosine(repetition_penalty=-12).warnings()
    (warning,) = Cosine(wrong_short=-1, repetition_penalty=-1).warnings()
    assert warning.hint == "set -1.2 to prevent it"
