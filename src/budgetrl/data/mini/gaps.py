"""The second generated task, "gaps": re-checks improve accuracy, so that shorter solutions cost accuracy.

A problem has the same form as in the first task, but asks for a chain of absolute differences: the difference of 0 and
a, of the result and b, and so on (`a 4 b 2 c 6 ?` gives 4, then 2, then 4). Unlike a sum, the chain has to be computed
in order. Each pass of a solution is finer than the pass before: it processes STRIDES[pass] operands at a time and
writes the intermediate result (`d = 3 f = 1`); with stride 1 it also writes the operand (`c 6 = 4`). Finer passes are
more reliable, because the model computes a step with one operand more reliably than a step with eight. So problems with
few operands need one pass, and problems with many need several. The last pass repeats the one before and is redundant.
Task, strides and rates are ours.
"""

import math
from collections.abc import Sequence
from functools import reduce
from random import Random

from budgetrl.data.mini import sums
from budgetrl.data.mini.sums import COUNT_WORDS, FILLER_RATE, LABELS, LARGEST_OPERAND, Sum

STRIDES = (8, 4, 2, 1, 1)
"""Operands per step, for each pass."""
SLIP_RATES = {1: 0.002, 2: 0.02, 4: 0.2, 8: 0.4}
"""Probability of a wrong result for a step with up to this many operands. Coarse passes are often wrong, so the model
learns to compute finer passes instead of copying the earlier result."""
CHECK_WEIGHTS = (1, 1, 1, 2, 2)
"""Sampling weights of 0, 1, 2, ... planned re-checks. Most draws are more than needed."""
HINT_RANGE: tuple[int, int] = (8, 208)
"""Smallest and largest length hint in tokens: from below the shortest solution to above the longest."""


class Gaps(Sum):
    """A problem of this task; it has the same operands and text as a sum."""

    @property
    def answer(self) -> int:
        return follow(0, self.operands)


def follow(value: int, operands: Sequence[int]) -> int:
    """Return the chain of absolute differences, starting at `value`. The result lies in 0 to the largest operand."""
    return reduce(lambda reached, x: abs(reached - x), operands, value)


def draw_problem(rng: Random, level: int | None = None) -> Gaps:
    """Return a random problem; the level is random unless given."""
    return Gaps(sums.draw_problem(rng, level).operands)


def expected_length(level: int, checks: int) -> float:
    """Return the expected number of tokens of a solution with `checks` re-checks. One word is one token."""
    # 5: "plan", the count, "\boxed{", result, "}". Each re-check adds "wait", its number, and "ok" or "no". Each step
    # is a label, "=", a value and, sometimes, a filler word; a pass with stride 1 also writes every operand.
    strides = STRIDES[: checks + 1]
    steps = sum(math.ceil(level / stride) for stride in strides)
    return 5 + 3 * checks + (3 + FILLER_RATE) * steps + level * strides.count(1)


def draw_checks(rng: Random, level: int) -> int:
    """Return a random number of re-checks for a prompt without a length hint; the distribution ignores the level."""
    return rng.choices(range(len(CHECK_WEIGHTS)), CHECK_WEIGHTS)[0]


def checks_for(level: int, length: int) -> int:
    """Return the number of re-checks whose expected length is closest to `length` tokens."""
    return min(range(len(STRIDES)), key=lambda n: abs(expected_length(level, n) - length))


def solve(rng: Random, problem: Sum, checks: int) -> str:
    """Return the text of a solution with `checks` re-checks, ending with the boxed result of the last pass."""
    words, result = _write_pass(rng, problem.operands, STRIDES[0])
    words = ["plan", COUNT_WORDS[checks], *words]
    for n, stride in enumerate(STRIDES[1 : checks + 1], 1):
        recheck, new_result = _write_pass(rng, problem.operands, stride)
        words += ["wait", COUNT_WORDS[n], *recheck, "ok" if new_result == result else "no"]
        result = new_result
    return " ".join([*words, "\\boxed{", str(result), "}"])


def slip_rate(operands: int) -> float:
    """Return the probability that a step with this many operands goes wrong."""
    return next(rate for most, rate in SLIP_RATES.items() if operands <= most)


def _write_pass(rng: Random, operands: Sequence[int], stride: int) -> tuple[list[str], int]:
    """The words of one pass over the operands, `stride` at a time, and its result.

    Shipped checkpoints depend on the order of the calls to `rng`.
    """
    words: list[str] = []
    value = 0
    for start in range(0, len(operands), stride):
        step = operands[start : start + stride]
        value = follow(value, step)
        if rng.random() < slip_rate(len(step)):  # a slip: any wrong value; the pass continues from it
            value = rng.choice([n for n in range(LARGEST_OPERAND + 1) if n != value])
        words.append(LABELS[start + len(step) - 1])  # the label of the last operand in the step
        if stride == 1:
            words.append(str(step[0]))
        words += ["=", str(value)]
        if rng.random() < FILLER_RATE:
            words.append("hmm")
    return words, value
