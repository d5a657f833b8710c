"""Grading with math-verify itself, in its worker processes."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetrl.verify import Verdict, Verifier

RIGHT = Verdict(correct=True, parsed=True, timed_out=False)
WRONG = Verdict(correct=False, parsed=True, timed_out=False)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, deadline=60) as verifier:  # generous: the machine may be busy
        yield verifier


@pytest.mark.parametrize(
    ("gold", "text", "verdict"),
    [
        (r"\frac{1}{2}", r"It is \boxed{0.5}.", RIGHT),
        ("0.5", r"\boxed{\frac12}", RIGHT),
        (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(3, \pi/2)}", RIGHT),
        ("p - q", r"\boxed{-q+p}", RIGHT),
        ("p - q", r"\boxed{q-p}", WRONG),
        ("72", r"\boxed{72\text{ clips}}", RIGHT),
        ("50", r"\boxed{50\%}", RIGHT),
        (r"8 \%", r"\boxed{8}", RIGHT),
        ("72", "The answer is 72.", RIGHT),
        ("72", "First 72, but then the answer is 73.", WRONG),
        ("72", r"\boxed{72}, no, \boxed{73}", WRONG),
        ("1, 2", r"\boxed{2, 1}", RIGHT),
        ("5", r"\boxed{x = 5}", RIGHT),
        # The order of the two matters: an interval answers an inequality, not the other way round.
        ("1 < x < 2", r"\boxed{(1, 2)}", RIGHT),
        ("(1, 2)", r"\boxed{1 < x < 2}", WRONG),
        ("72", "I do not know.", Verdict(correct=False, parsed=False, timed_out=False)),
    ],
)
def test_grades(verifier: Verifier, gold: str, text: str, verdict: Verdict) -> None:
    assert verifier.grade([(gold, text)]) == [verdict]


def test_huge_numbers_and_long_texts_cost_no_other_answer() -> None:
    """The power tower keeps sympy busy for good; the others are long."""
    danger = [r"\boxed{9^{9^{9^9}}}", r"\boxed{" + "9" * 900 + "}", "12 and " * 20_000, "(" * 50_000]
    with Verifier() as verifier:
        verdicts = verifier.grade([("7", text) for text in danger] + [("1/3", r"\boxed{\frac{1}{3}}")])
    assert [verdict.correct for verdict in verdicts] == [False, False, False, False, True]


def test_readable(verifier: Verifier) -> None:
    golds = ["7", r"\frac{1}{2}", "$x^2$", "(0, 1]", "", r"\frac{1}{", "n/a ???"]
    assert verifier.readable(golds) == [True, True, True, True, False, False, False]


def rows(path: Path, sample: int) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in random.Random(0).sample(lines, sample)]


@pytest.mark.parametrize("ending", ["\n#### {}", "\nThe answer is \\boxed{{{}}}."])
def test_gsm8k_solutions_are_right_and_with_wrong_numbers_wrong(
    verifier: Verifier, shared_dir: Path, ending: str
) -> None:
    problems = rows(shared_dir / "data" / "gsm8k_train.jsonl", 200)

    def accuracy(offset: int) -> float:
        texts = [row["solution"] + ending.format(int(row["answer"]) + offset) for row in problems]
        verdicts = verifier.grade([(row["answer"], text) for row, text in zip(problems, texts, strict=True)])
        return sum(verdict.correct for verdict in verdicts) / len(verdicts)

    assert [accuracy(offset) for offset in (0, 1, -1, 10)] == [1.0, 0.0, 0.0, 0.0]


def test_math_answers_are_right_against_themselves(verifier: Verifier, shared_dir: Path) -> None:
    golds = [row["answer"] for row in rows(shared_dir / "data" / "math500_test.jsonl", 60)]
    assert verifier.readable(golds) == [True] * 60
