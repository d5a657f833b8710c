"""The second embedded task: gaps, whose re-checks buy accuracy, so that length has a price.

A problem names k operands like the first task's, but asks for gaps: the distance from a to b, from
that to c, and so on (`a 4 b 2 c 6 ?`: 4, then 2, then 4). Unlike a sum, this has to be worked out
in order. Each pass of a solution looks closer than the one before: it takes STRIDES[pass]
operands at a time and writes where it got to (`d = 3 f = 1`), with the operand if it is a single one
(`c 6 = 4`). The closer, the surer, as long as one step of the model takes one operand more
reliably than eight; so few operands need one look, many need several. The last look
repeats the one before: that one is redundant. Task, strides and rates are ours.
"""

import math
from collections.abc import Sequence
from functools import reduce
from random import Random

from budgetrl.data.mini import sums
from budgetrl.data.mini.sums import COUNT_WORDS, FILLER_RATE, LABELS, LARGEST_OPERAND, Sum

STRIDES = (8, 4, 2, 1, 1)
"""Operands that each pass takes at a time."""
SLIP_RATES = {1: 0.002, 2: 0.02, 4: 0.2, 8: 0.4}
"""Chance that taking up to that many operands at once goes wrong, so that the model has reason to trust closer
looks rather than to copy."""
CHECK_WEIGHTS = (1, 1, 1, 2, 2)
"""Weights of planning 0, 1, 2, ... re-checks: mostly more than needed."""
HINT_RANGE: tuple[int, int] = (8, 208)
"""Range of length hints in tokens: from below the shortest solution to above the longest."""


class Gaps(Sum):
    """The operands of a sum, with another question."""

    @property
    def answer(self) -> int:
        return follow(0, self.operands)


def follow(value: int, operands: Sequence[int]) -> int:
    """From a value to the first operand's distance from it, and so on; 0 to the largest operand."""
    return reduce(lambda reached, x: abs(reached - x), operands, value)


def draw_problem(rng: Random, level: int | None = None) -> Gaps:
    """A random problem, of a random level unless one is given."""
    return Gaps(sums.draw_problem(rng, level).operands)


def expected_length(level: int, checks: int) -> float:
    """Tokens of a solution with that many re-checks: one word is one token, filler words at their mean."""
    strides = STRIDES[: checks + 1]
    steps = sum(math.ceil(level / stride) for stride in strides)
    return 5 + 3 * checks + (3 + FILLER_RATE) * steps + level * strides.count(1)


def draw_checks(rng: Random, level: int) -> int:
    """How many re-checks a solution plans when nobody asks for a length; the same at every level."""
    return rng.choices(range(len(CHECK_WEIGHTS)), CHECK_WEIGHTS)[0]


def checks_for(level: int, length: int) -> int:
    """The number of re-checks whose solution comes closest to a wished length in tokens."""
    return min(range(len(STRIDES)), key=lambda n: abs(expected_length(level, n) - length))


def solve(rng: Random, problem: Sum, checks: int) -> str:
    """A written-out solution with `checks` re-checks, ending in the boxed result of the last."""
    words, result = _look(rng, problem.operands, STRIDES[0])
    words = ["plan", COUNT_WORDS[checks], *words]
    for n, stride in enumerate(STRIDES[1 : checks + 1], 1):
        again, checked = _look(rng, problem.operands, stride)
        words += ["wait", COUNT_WORDS[n], *again, "ok" if checked == result else "no"]
        result = checked
    return " ".join([*words, "\\boxed{", str(result), "}"])


def slip_rate(operands: int) -> float:
    """Chance that taking so many operands at once goes wrong."""
    return next(rate for most, rate in SLIP_RATES.items() if operands <= most)


def _look(rng: Random, operands: Sequence[int], stride: int) -> tuple[list[str], int]:
    """The words of one pass over the operands, `stride` at a time, and the result that it comes to."""
    words: list[str] = []
    value = 0
    for start in range(0, len(operands), stride):
        step = operands[start : start + stride]
        value = follow(value, step)
        if rng.random() < slip_rate(len(step)):
            value = rng.choice([n for n in range(LARGEST_OPERAND + 1) if n != value])
        words.append(LABELS[start + len(step) - 1])
        if stride == 1:
            words.append(str(step[0]))  # the closest look writes the operand too
        words += ["=", str(value)]
        if rng.random() < FILLER_RATE:
            words.append("hmm")
    return words, value
