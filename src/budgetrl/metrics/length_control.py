"""Accuracy as a function of length: hard cut-offs of completions that exist, and pre-filled budgets.

Both curves are summed up by one number, the area below them over the logarithm of the length, divided
by its width: the mean accuracy for a limit that is as likely between 100 and 200 tokens as between 1,000 and
2,000 (ours). On a plain axis the longest limits of a grid that doubles would count for nearly everything.
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
"""The samples of one problem, for each problem."""


def at_cutoffs(groups: Groups, cutoffs: Sequence[int]) -> Results:
    """What is left of an evaluation when every answer stops at c tokens, for each c of `cutoffs`.

    `cutoff_<c>/accuracy` is the share of all responses that are right and ended within c tokens,
    `cutoff_<c>/length` the mean of min(l, c), `cutoff_area` the area from the smallest c to the largest
    (left out if there is one c only).

    >>> groups = [[Outcome(True, True, length=80)], [Outcome(True, True, length=120)]]
    >>> at_cutoffs(groups, [100]).flat()["cutoff_100/accuracy"]
    0.5
    """
    counts_P = _sums(groups, lambda outcome: 1)
    right_at: list[np.ndarray] = []
    estimates: dict[Key, Estimate] = {}
    for cutoff in cutoffs:
        right_P = _sums(groups, partial(_ends_by, cutoff))
        lengths_P = _sums(groups, partial(_cut_length, cutoff))
        right_at.append(right_P)
        for metric, totals_P in (("accuracy", right_P), ("length", lengths_P)):
            mean = ratio(totals_P, counts_P)
            if mean is not None:
                estimates[Key(metric, part=Part(PartKind.CUTOFF, cutoff))] = mean.estimate()
    if len(cutoffs) < 2:
        return Results(estimates)
    right_BP = np.array(right_at)

    def weighted_area(weights_P: np.ndarray) -> float:
        accuracies_B = right_BP @ weights_P / (counts_P @ weights_P)
        return area(cutoffs, accuracies_B, min(cutoffs), max(cutoffs))

    # The area is no mean over problems, so that its error comes from leaving each problem out.
    estimates[Key("cutoff_area")] = jackknife(weighted_area, len(groups)).estimate()
    return Results(estimates)


def budget_area(groups_by_budget: Mapping[int, Groups]) -> Results:
    """`budget_area`: the area below accuracy against the length obtained for each budget given.

    From the smallest budget to the largest, all on the same problems in the same order. A length below the shortest
    one obtained has accuracy 0, since the model could not be made so brief; one above the longest has the accuracy of
    the longest. So two models are comparable on the same grid. Empty for fewer than two budgets.
    """
    if len(groups_by_budget) < 2:
        return Results()
    passes = list(groups_by_budget.values())
    counts_BP = np.array([_sums(groups, lambda outcome: 1) for groups in passes])
    right_BP = np.array([_sums(groups, lambda outcome: outcome.correct) for groups in passes])
    lengths_BP = np.array([_sums(groups, lambda outcome: outcome.length) for groups in passes])
    ends = min(groups_by_budget), max(groups_by_budget)

    def weighted_area(weights_P: np.ndarray) -> float:
        counts_B = counts_BP @ weights_P
        mean_lengths_B = lengths_BP @ weights_P / counts_B
        accuracies_B = right_BP @ weights_P / counts_B
        return area(mean_lengths_B.tolist(), accuracies_B, *ends)

    return Results({Key("budget_area"): jackknife(weighted_area, counts_BP.shape[1]).estimate()})


def area(lengths_B: Sequence[float], accuracies_B: Sequence[float] | np.ndarray, low: float, high: float) -> float:
    """The area below accuracy over log length from `low` to `high`, by the trapezoidal rule, over its width: 0 to 1.

    >>> round(area([10, 100], [0.5, 1.0], 10, 1000), 3)
    0.875
    """
    order = np.argsort(lengths_B, kind="stable")
    x_B, y_B = np.log(np.maximum(lengths_B, 1))[order], np.asarray(accuracies_B)[order]
    # Below the shortest length accuracy is 0: nothing is added there, but its width counts in the divisor.
    start, end = max(float(x_B[0]), math.log(low)), math.log(high)
    if start >= end:
        return 0.0
    knots = np.array([start, *x_B[(x_B > start) & (x_B < end)], end])
    heights = np.interp(knots, x_B, y_B)  # beyond the longest length the last accuracy holds
    return float(np.diff(knots) @ (heights[1:] + heights[:-1]) / 2) / (end - math.log(low))


def _sums(groups: Groups, score: Callable[[Outcome], float]) -> np.ndarray:
    """[P] the sum of each problem's scores."""
    return np.array([float(sum(map(score, group))) for group in groups])


def _cut_length(cutoff: int, outcome: Outcome) -> int:
    return min(outcome.length, cutoff)


def _ends_by(cutoff: int, outcome: Outcome) -> bool:
    """Whether an answer is right and stands there in full within `cutoff` tokens."""
    return outcome.correct and outcome.length <= cutoff
