"""Advantages relative to the group: how much better a completion did than the others of its prompt."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Rewards = Sequence[float | None]
"""The rewards of one prompt's completions; None or NaN where a completion could not be scored."""

EQUAL = 1e-9
"""Rewards this close are equal: what is left between them is rounding, and a small std would blow it up."""


def group_advantages(rewards: Sequence[Rewards], normalise_std: bool, std_floor: float) -> list[list[float]]:
    """Advantages [P][G] of rewards [P][G]: r - mean, over std + `std_floor` if `normalise_std`.

    Mean and standard deviation (n - 1 in the denominator) are those of the group's scored
    completions. A completion without a score has advantage 0, as have all of a group whose rewards
    are equal. Raises ValueError for an infinite reward.

    >>> group_advantages([[1.0, 0.0, None, 0.0]], normalise_std=False, std_floor=0.0)
    [[0.6666666666666667, -0.3333333333333333, 0.0, -0.3333333333333333]]
    """
    return [_one_group(group, normalise_std, std_floor) for group in rewards]


def equal_share(rewards: Sequence[Rewards]) -> float:
    """The share of groups that teach nothing: their scored rewards are all equal, or fewer than two.

    >>> equal_share([[1.0, 1.0], [0.0, 1.0], [None, 1.0], [0.0, 2.0]])
    0.5
    """
    return fmean(_all_equal(_scored(group)) for group in rewards)


def _one_group(group: Rewards, normalise_std: bool, std_floor: float) -> list[float]:
    scored = _scored(group)
    if _all_equal(scored):
        return [0.0] * len(group)
    mean = fmean(scored)
    scale = stdev(scored) + std_floor if normalise_std else 1.0
    return [0.0 if reward is None or math.isnan(reward) else (reward - mean) / scale for reward in group]


def _scored(group: Rewards) -> list[float]:
    scored = [reward for reward in group if reward is not None and not math.isnan(reward)]
    if any(map(math.isinf, scored)):
        raise ValueError(f"rewards must be finite, got {list(group)}")
    return scored


def _all_equal(scored: Sequence[float]) -> bool:
    return not scored or max(scored) - min(scored) <= EQUAL
