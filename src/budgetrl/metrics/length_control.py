"""Accuracy as a function of length: hard cutoffs applied to existing completions, and pre-filled budgets.

Each curve is summarized by one number (ours): the area below it over the logarithm of the length, divided by the width
of the range. This is the mean accuracy for a limit that is as likely to lie between 100 and 200 tokens as between 1,000
and 2,000. On a linear axis, the longest limits of a doubling grid would dominate.

In variable names, P is the number of problems and B the number of cutoffs or budgets.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from budgetrl.core.records import Outcome
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.results import Results
from budgetrl.metrics.statistics import jackknife, ratio

Groups = Sequence[Sequence[Outcome]]
"""For each problem, the outcomes of its samples."""


def at_cutoffs(groups: Groups, cutoffs: Sequence[int]) -> Results:
    """Return the metrics that an evaluation would have if every response was cut off after c tokens.

    For each c in `cutoffs`, `cutoff_<c>/accuracy` is the share of all responses that are correct and have at most c
    tokens, and `cutoff_<c>/length` is the mean of min(l, c). `cutoff_area` is the area from the smallest c to the
    largest; it is omitted if there is only one c.

    >>> groups = [[Outcome(True, True, length=80)], [Outcome(True, True, length=120)]]
    >>> at_cutoffs(groups, [100]).flat()["cutoff_100/accuracy"]
    0.5
    """
    counts_P = _sum_by_problem(groups, lambda outcome: 1)
    correct_at: list[np.ndarray] = []
    estimates: dict[Key, Estimate] = {}
    for cutoff in cutoffs:
        correct_P = _sum_by_problem(groups, partial(_is_correct_within, cutoff))
        lengths_P = _sum_by_problem(groups, partial(_cut_length, cutoff))
        correct_at.append(correct_P)
        for metric, totals_P in (("accuracy", correct_P), ("length", lengths_P)):
            mean = ratio(totals_P, counts_P)
            if mean is not None:
                estimates[Key(metric, part=Part(PartKind.CUTOFF, cutoff))] = mean.estimate()
    if len(cutoffs) < 2:
        return Results(estimates)
    correct_BP = np.array(correct_at)

    def weighted_area(weights_P: np.ndarray) -> float:
        accuracies_B = correct_BP @ weights_P / (counts_P @ weights_P)
        return area(cutoffs, accuracies_B, min(cutoffs), max(cutoffs))

    # The area is not a mean over problems, so its standard error comes from the jackknife.
    estimates[Key("cutoff_area")] = jackknife(weighted_area, len(groups)).estimate()
    return Results(estimates)


def budget_area(groups_by_budget: Mapping[int, Groups]) -> Results:
    """Return `budget_area`, the area below the curve of accuracy against the mean length obtained for each budget.

    The groups must be for the same problems in the same order at every budget. The area extends from the smallest
    budget to the largest, so that models are comparable on the same grid of budgets. Below the shortest mean length
    accuracy counts as 0, because the model could not be made that brief; above the longest it stays constant. Empty for
    fewer than two budgets.
    """
    if len(groups_by_budget) < 2:
        return Results()
    counts: list[np.ndarray] = []
    correct: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for groups in groups_by_budget.values():
        counts.append(_sum_by_problem(groups, lambda outcome: 1))
        correct.append(_sum_by_problem(groups, lambda outcome: outcome.correct))
        lengths.append(_sum_by_problem(groups, lambda outcome: outcome.length))
    counts_BP, correct_BP, lengths_BP = np.array(counts), np.array(correct), np.array(lengths)
    smallest, largest = min(groups_by_budget), max(groups_by_budget)

    def weighted_area(weights_P: np.ndarray) -> float:
        counts_B = counts_BP @ weights_P
        mean_lengths_B = lengths_BP @ weights_P / counts_B
        accuracies_B = correct_BP @ weights_P / counts_B
        return area(mean_lengths_B.tolist(), accuracies_B, smallest, largest)

    return Results({Key("budget_area"): jackknife(weighted_area, counts_BP.shape[1]).estimate()})


def area(lengths_B: Sequence[float], accuracies_B: Sequence[float] | np.ndarray, low: float, high: float) -> float:
    """Return the area below accuracy over log(length) from `low` to `high`, divided by log(high / low): 0 to 1.

    >>> round(area([10, 100], [0.5, 1.0], 10, 1000), 3)
    0.875
    """
    # Obtained lengths need not increase with the budget. A length of 0 is treated as 1, because of the logarithm.
    order = np.argsort(lengths_B, kind="stable")
    x_B, y_B = np.log(np.maximum(lengths_B, 1))[order], np.asarray(accuracies_B)[order]
    # Below the shortest length accuracy is 0: that range adds no area, but its width is part of the divisor.
    start, end = max(float(x_B[0]), math.log(low)), math.log(high)
    if start >= end:
        return 0.0
    # Trapezoidal rule. np.interp repeats the last accuracy beyond the longest length.
    knots = np.array([start, *x_B[(x_B > start) & (x_B < end)], end])
    heights = np.interp(knots, x_B, y_B)
    return float(np.diff(knots) @ (heights[1:] + heights[:-1]) / 2) / (end - math.log(low))


def _sum_by_problem(groups: Groups, score: Callable[[Outcome], float]) -> np.ndarray:
    """The sum of the scores of each problem's samples, [P]."""
    return np.array([float(sum(map(score, group))) for group in groups])


def _cut_length(cutoff: int, outcome: Outcome) -> int:
    return min(outcome.length, cutoff)


def _is_correct_within(cutoff: int, outcome: Outcome) -> bool:
    return outcome.correct and outcome.length <= cutoff
