"""Gold answers of real benchmarks, graded against themselves and against each other."""

import random
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from budgetrl.grading.verifier import Verifier
from budgetrl.runs.folder import read_rows

Pair = tuple[str, str]
UNIT = "words behind a number are dropped as its unit, so any two units are alike"
NAME = "a name before the number has to agree, which the plain comparison does not look at"
KNOWN: dict[Pair, str] = {
    (r"20\text{ miles}", r"20\text{ square units}"): UNIT,
    (r"7 \text{ distinct integers}", r"7\text{ hours}"): UNIT,
    ("q = 3", "k=3"): NAME,
}
"""Pairs from MATH on which math-verify and the plain comparison differ, and why."""

_DECORATION = re.compile(r"\\left|\\right|\\[!,;: $%]|[\s$%]|\^\{?\\circ\}?")
_WORDS = re.compile(r"\\(?:text|textbf|mbox|mathrm)\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac(?:\{([^{}]*)\}|(.))(?:\{([^{}]*)\}|(.))")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+")
_NUMBER = re.compile(r"(-?)(\d+(?:\.\d*)?|\.\d+)?(?:\((\d+)\)/\((\d+)\))?")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, deadline=60) as verifier:  # generous: the machine may be busy
        yield verifier


def plain(answer: str) -> Fraction | str:
    """The exact number that an answer is; else its text, less blanks and decoration. Knows nothing of algebra."""
    text = _WORDS.sub(r"\1", _DECORATION.sub("", answer))
    text = _FRACTION.sub(lambda found: f"({found[1] or found[2]})/({found[3] or found[4]})", text)
    text = re.sub(r"^[a-z]=", "", text)
    text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    number = _NUMBER.fullmatch(text)
    if number is None or not (number[2] or number[3]):
        return text
    size = Fraction(number[2] or 0) + (Fraction(int(number[3]), int(number[4])) if number[3] else 0)
    return -size if number[1] else size


def golds(shared_dir: Path, *names: str) -> list[str]:
    """The gold answers of files in the shared data."""
    return [row["answer"] for name in names for row in read_rows(shared_dir / "data" / f"{name}.jsonl")]


def sampled(answers: Sequence[str], problems: int) -> list[Pair]:
    """So many pairs of two problems; 100 of two answers with much the same letters and digits; 60 of two writings."""
    draw = random.Random(0)
    any_two = [(answers[i], answers[j]) for i, j in (draw.sample(range(len(answers)), 2) for _ in range(problems))]
    distinct = sorted({*answers}, key=lambda answer: (re.sub(r"\\[a-z]+|[^a-z0-9]", "", answer), answer))
    writings: dict[Fraction | str, list[str]] = {}
    for answer in distinct:
        writings.setdefault(plain(answer), []).append(answer)
    alike = [pair for same in writings.values() for pair in pairwise(same)]
    near = [*pairwise(distinct)]
    return any_two + draw.sample(near, 100) + draw.sample(alike, min(60, len(alike)))


def equal(verifier: Verifier, pairs: Sequence[Pair]) -> list[bool]:
    return [verdict.correct for verdict in verifier.grade([(gold, rf"\boxed{{{text}}}") for gold, text in pairs])]


def against_each_other(verifier: Verifier, pairs: Sequence[Pair]) -> set[Pair]:
    """The pairs on which the grader differs from the plain comparison, in whichever order they are given."""
    there, back = equal(verifier, pairs), equal(verifier, [(b, a) for a, b in pairs])
    assert there == back
    expected = [plain(a) == plain(b) for a, b in pairs]
    assert any(expected) and not all(expected)
    return {pair for pair, one, other in zip(pairs, there, expected, strict=True) if one != other}


def test_the_plain_comparison() -> None:
    same = [(r"1\frac{4}{5}", "1.8"), (r"10,\!080", "10080"), (r"\frac 34", r"\dfrac{3}{4}"), (r"30^\circ", "30")]
    other = [("1,2", "12"), ("(1,2)", "[1,2]"), ("52_8", "528"), ("-4", "4"), (r"2\sqrt{5}", "25"), ("1,234", "1,2,34")]
    assert all(plain(a) == plain(b) for a, b in same)
    assert not any(plain(a) == plain(b) for a, b in other)


@pytest.mark.slow
def test_gold_answers_of_math_are_right_against_each_other_where_they_are_equal(
    verifier: Verifier, shared_dir: Path
) -> None:
    pairs = [*sampled(golds(shared_dir, "math500_test", "math_train"), problems=300), *KNOWN]
    assert against_each_other(verifier, pairs) == {*KNOWN}


def test_gold_answers_of_gsm8k_are_right_against_each_other_where_they_are_equal(
    verifier: Verifier, shared_dir: Path
) -> None:
    assert not against_each_other(verifier, sampled(golds(shared_dir, "gsm8k_test", "gsm8k_train"), problems=3000))


@pytest.mark.parametrize(
    ("name", "usable", "left_out"),
    [
        ("gsm8k_test", 1019, 0),
        ("math500_test", 350, 0),
        pytest.param("olympiadbench_test", 673, 2, marks=pytest.mark.slow),
    ],
)
def test_gold_answers_are_right_against_themselves_but_for_those_that_are_no_values(
    verifier: Verifier, shared_dir: Path, name: str, usable: int, left_out: int
) -> None:
    """The numbers of docs/grading.md."""
    readable = verifier.can_parse(golds(shared_dir, name))
    assert (readable.count(True), readable.count(False)) == (usable, left_out)
