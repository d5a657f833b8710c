"""The embedded task: sums whose written-out solutions are re-checked far more often than needed.

A problem names k operands (`a 4 b 2 c 6 ?`), its answer is their sum, its level is k. A solution
plans a number of re-checks, adds up once, then adds up again that many times. Re-checking is
almost pure redundancy, so a model trained on it overthinks in a way that can be unlearned.
Text only: `model.py` says how it becomes tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

LEVELS = (2, 3, 4, 6, 8, 12, 16)
LABELS = tuple("abcdefghijklmnop")
LARGEST_OPERAND = 6
LARGEST_SUM = LARGEST_OPERAND * max(LEVELS)
COUNT_WORDS = ("zero", "one", "two", "three", "four", "five", "six")

FILLER_RATE = 0.1
"""Chance of a filler word after each addition."""
SLIP_RATE = 0.008
"""Chance that an addition of the first pass goes wrong."""
RECHECK_SLIP_RATE = 0.001
SLIPS = (-1, 1, -1, 1, 2, -2)
EXTRA_CHECKS = 2
"""Most further checks after one that disagreed with the pass before it."""
HINT_RANGE: tuple[int, int] = (11, 416)
"""Range of length hints in tokens: from below the shortest solution to about the longest."""


@dataclass(frozen=True)
class Sum:
    """One problem as numbers."""

    operands: tuple[int, ...]

    @property
    def level(self) -> int:
        return len(self.operands)

    @property
    def answer(self) -> int:
        return sum(self.operands)

    @property
    def text(self) -> str:
        return " ".join(f"{label} {x}" for label, x in zip(LABELS, self.operands, strict=False)) + " ?"


def draw_problem(rng: Random, level: int | None = None) -> Sum:
    """A random problem, of a random level unless one is given."""
    k = level or rng.choice(LEVELS)
    return Sum(tuple(rng.randint(1, LARGEST_OPERAND) for _ in range(k)))


def check_weights(level: int) -> tuple[int, ...]:
    """Weights of planning 0, 1, 2, ... re-checks; fewer at the top level, to bound the length."""
    return (1, 1, 1, 2, 2) if level == max(LEVELS) else (1, 1, 1, 1, 2, 2, 2)


def expected_length(level: int, checks: int) -> float:
    """Tokens of a solution with that many re-checks: one word is one token, filler words at their mean."""
    one_pass = (4 + FILLER_RATE) * level
    return one_pass + 5 - FILLER_RATE + checks * (one_pass + 3)


def draw_checks(rng: Random, level: int) -> int:
    """How many re-checks a solution plans when nobody asks for a length."""
    weights = check_weights(level)
    return rng.choices(range(len(weights)), weights)[0]


def checks_for(level: int, length: int) -> int:
    """The number of re-checks whose solution comes closest to a wished length in tokens."""
    return min(range(len(check_weights(level))), key=lambda n: abs(expected_length(level, n) - length))


def solve(rng: Random, problem: Sum, checks: int) -> str:
    """A written-out solution with `checks` planned re-checks, ending in the boxed result."""
    words, result = _add_up(rng, problem.operands, SLIP_RATE)
    words = ["plan", COUNT_WORDS[checks], *words]
    left, extra = checks, EXTRA_CHECKS
    while left:
        again, checked = _add_up(rng, problem.operands, RECHECK_SLIP_RATE)
        agrees = checked == result
        words += ["wait", COUNT_WORDS[left], *again, "ok" if agrees else "no"]
        result, left = checked, left - 1
        if not left and not agrees and extra:
            left, extra = 1, extra - 1
    return " ".join([*words, "\\boxed{", str(result), "}"])


def _add_up(rng: Random, operands: Sequence[int], slip_rate: float) -> tuple[list[str], int]:
    words: list[str] = []
    total = 0
    for i, (label, x) in enumerate(zip(LABELS, operands, strict=False)):
        total += x
        if i and rng.random() < slip_rate:
            total = min(max(total + rng.choice(SLIPS), 0), LARGEST_SUM)
        words += [label, str(x), "=", str(total)]
        if rng.random() < FILLER_RATE:
            words.append("hmm")
    return words, total
