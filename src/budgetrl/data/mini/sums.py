"""The first generated task: sums, with solutions that contain far more re-checks than needed.

A problem has k labeled operands (`a 4 b 2 c 6 ?`). Its answer is their sum, and its level is k. A solution plans a
number of re-checks, adds up once, then adds up again that many times:

    plan one a 4 = 4 b 2 = 6 wait one a 4 = 4 b 2 = 6 ok \\boxed{ 6 }

Re-checks are almost entirely redundant. A model trained on such solutions overthinks, and can learn to stop doing so.
This module works with text only; `model.py` has the tokenizer.
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
"""Probability of a filler word after each addition."""
SLIP_RATE = 0.008
"""Probability that an addition in the first pass goes wrong."""
RECHECK_SLIP_RATE = 0.001
"""The same for re-checks."""
SLIPS = (-1, 1, -1, 1, 2, -2)
"""What a slip adds to the result, with equal probabilities."""
EXTRA_CHECKS = 2
"""Maximum number of unplanned re-checks after the last planned one disagreed with the pass before it."""
HINT_RANGE: tuple[int, int] = (11, 416)
"""Smallest and largest length hint in tokens: from below the shortest solution to about the longest."""


@dataclass(frozen=True)
class Sum:
    """The operands of one problem."""

    operands: tuple[int, ...]

    @property
    def level(self) -> int:
        return len(self.operands)

    @property
    def answer(self) -> int:
        return sum(self.operands)

    @property
    def text(self) -> str:
        words: list[str] = []
        for label, x in zip(LABELS, self.operands, strict=False):
            words += [label, str(x)]
        return " ".join([*words, "?"])


def draw_problem(rng: Random, level: int | None = None) -> Sum:
    """Return a random problem; the level is random unless given."""
    # The draws below must never change: recorded results and shipped checkpoints depend on them.
    k = level or rng.choice(LEVELS)
    return Sum(tuple(rng.randint(1, LARGEST_OPERAND) for _ in range(k)))


def check_weights(level: int) -> tuple[int, ...]:
    """Return the sampling weights of 0, 1, 2, ... planned re-checks; fewer at the top level, to bound the length."""
    return (1, 1, 1, 2, 2) if level == max(LEVELS) else (1, 1, 1, 1, 2, 2, 2)


def expected_length(level: int, checks: int) -> float:
    """Return the expected number of tokens of a solution with `checks` re-checks. One word is one token."""
    one_pass = (4 + FILLER_RATE) * level  # per operand: label, operand, "=", sum and, sometimes, a filler word
    # 5: "plan", the count, "\boxed{", result, "}". Each re-check adds "wait", its number, and "ok" or "no".
    # Exact up to `- FILLER_RATE`, which stays: this number decides which solution belongs to a length hint.
    return one_pass + 5 - FILLER_RATE + checks * (one_pass + 3)


def draw_checks(rng: Random, level: int) -> int:
    """Return a random number of re-checks for a prompt without a length hint."""
    weights = check_weights(level)
    return rng.choices(range(len(weights)), weights)[0]


def checks_for(level: int, length: int) -> int:
    """Return the number of re-checks whose expected length is closest to `length` tokens."""
    return min(range(len(check_weights(level))), key=lambda n: abs(expected_length(level, n) - length))


def solve(rng: Random, problem: Sum, checks: int) -> str:
    """Return the text of a solution with `checks` planned re-checks, ending with the boxed result."""
    words, result = _add_up(rng, problem.operands, SLIP_RATE)
    words = ["plan", COUNT_WORDS[checks], *words]
    left, extra = checks, EXTRA_CHECKS
    while left:
        recheck, new_result = _add_up(rng, problem.operands, RECHECK_SLIP_RATE)
        agrees = new_result == result
        words += ["wait", COUNT_WORDS[left], *recheck, "ok" if agrees else "no"]  # counts down to "one"
        result, left = new_result, left - 1
        if not left and not agrees and extra:
            left, extra = 1, extra - 1
    return " ".join([*words, "\\boxed{", str(result), "}"])


def _add_up(rng: Random, operands: Sequence[int], slip_rate: float) -> tuple[list[str], int]:
    """The words of one pass over the operands, and its result."""
    words: list[str] = []
    total = 0
    for i, (label, x) in enumerate(zip(LABELS, operands, strict=False)):
        total += x
        if i and rng.random() < slip_rate:  # the first operand is only copied, which cannot go wrong
            total = min(max(total + rng.choice(SLIPS), 0), LARGEST_SUM)
        words += [label, str(x), "=", str(total)]
        if rng.random() < FILLER_RATE:
            words.append("hmm")
    return words, total
