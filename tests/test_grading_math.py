"""Grading with math-verify itself, in its worker processes."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetrl.grading.verifier import Verdict, Verifier

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
    assert verifier.can_parse(golds) == [True, True, True, True, False, False, False]


def rows(path: Path, sample: int) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in random.Random(0).sample(lines, sample)]


@pytest.mark.parametrize("ending", ["\n#### {}", "\nThe answer is \\boxed{{{}}}."])
def test_gsm8k_solutions_are_right_and_with_wrong_numbers_wrong(
    verifier: Verifier, shared_dir: Path, ending: str
) -> None:
    problems = rows(shared_dir / "data" / "gsm8k_train.jsonl", 300)

    def accuracy(offset: int) -> float:
        texts = [row["solution"] + ending.format(int(row["answer"]) + offset) for row in problems]
        verdicts = verifier.grade([(row["answer"], text) for row, text in zip(problems, texts, strict=True)])
        return sum(verdict.correct for verdict in verdicts) / len(verdicts)

    assert [accuracy(offset) for offset in (0, 1, -1, 10)] == [1.0, 0.0, 0.0, 0.0]


FIXTURES = Path(__file__).parent / "fixtures"
PAIRS = [json.loads(line) for line in (FIXTURES / "hard_pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_hard_pairs_are_graded_as_a_careful_person_does_but_for_those_we_know(verifier: Verifier) -> None:
    """`correct` is what a careful person says. A pair that comes or goes here changes docs/grading.md too."""
    known = json.loads((FIXTURES / "hard_pairs_disagreements.json").read_text(encoding="utf-8"))
    verdicts = verifier.grade([(pair["gold"], pair["text"]) for pair in PAIRS])
    graded = {pair["id"]: verdict.correct for pair, verdict in zip(PAIRS, verdicts, strict=True)}
    assert len(graded) == 200
    assert {pair["id"]: graded[pair["id"]] for pair in PAIRS if graded[pair["id"]] != pair["correct"]} == {
        id_: disagreement["graded"] for id_, disagreement in known.items()
    }


@pytest.mark.parametrize(
    ("text", "verdict", "answer"),
    [
        (r"\boxed{B}", RIGHT, "B"),
        (r"\boxed{\textbf{(B)}\ 42}", RIGHT, "B"),
        (r"\boxed{C) 42}", WRONG, "C"),
        ("The answer is (B).", RIGHT, "B"),
        ("Perhaps.", Verdict(correct=False, parsed=False, timed_out=False), None),
    ],
)
def test_multiple_choice(verifier: Verifier, text: str, verdict: Verdict, answer: str | None) -> None:
    (given,) = verifier.grade([("B", text)])
    assert (given, given.answer) == (verdict, answer)


def test_a_verdict_keeps_the_answer_in_one_writing(verifier: Verifier) -> None:
    texts = [r"\boxed{\dfrac{1}{2}}", r"It is $\frac{1}{2}$.", r"\boxed{7}", "So it is 7.", "Nothing."]
    answers = [verdict.answer for verdict in verifier.grade([(r"\frac{1}{3}", text) for text in texts])]
    assert answers == [r"\frac{1}{2}", r"\frac{1}{2}", "7", "7", None]
