"""Advantages relative to the group: how much better a completion did than the others of its prompt.

From the values v of a group's completions (their rewards, or with `per_component` the sum of their
standardized reward parts) to advantages in three steps, each a part that `algorithm.advantage` chooses:

1. baseline       a = v - mean of the group;  leave_one_out: a = v - mean of the others = G / (G - 1) (v - mean)
2. scale          group: a / (std of v in the group + floor)      (GRPO, arXiv 2402.03300)
                  batch: a / (std of v in the whole batch + floor)   (Lite PPO, arXiv 2508.08221)
                  tokens: (a - mean) / (std + floor), both over the tokens of the batch, each of which
                  has its completion's a                      (REINFORCE++ with baseline, arXiv 2501.03262)
                  none: a                                                   (Dr. GRPO, arXiv 2503.20783)
3. difficulty     a w(rho) where a > 0, else a w(1 - rho)                   (GRPO-LEAD, arXiv 2504.09696)

Every std has n - 1 in its denominator. The batch is that of a rollout, whatever its minibatches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, stdev

from budgetrl.settings.algorithm import AdvantageSettings

Rewards = Sequence[float | None]
"""The rewards of one prompt's completions; None or NaN where a completion could not be scored."""

EQUAL_TOLERANCE = 1e-9
"""Rewards this close are equal: what is left between them is rounding, and a small std would blow it up."""


@dataclass(frozen=True)
class Group:
    """What the G completions of one prompt came to."""

    rewards: Rewards
    parts: Mapping[str, Sequence[float]]
    """The named parts of the rewards, G numbers each; read by `per_component`."""
    lengths: Sequence[int]
    """Tokens trained on in each completion; read by the scale `tokens`."""
    correct: Sequence[bool]
    """Which ones the rewards call right: correct and well formed; read by `difficulty_weighting`."""


def group_advantages(groups: Sequence[Group], settings: AdvantageSettings) -> list[list[float]]:
    """Advantages [P][G] of a rollout's groups.

    A completion without a score has advantage 0 and counts nowhere; a group whose values are equal
    has a = 0 before it is scaled. Raises ValueError for an infinite reward.

    >>> groups = [Group([1.0, 0.0, None, 0.0], {}, [5, 5, 5, 5], [True, False, False, False])]
    >>> group_advantages(groups, AdvantageSettings(scale="none"))
    [[0.6666666666666667, -0.3333333333333333, 0.0, -0.3333333333333333]]
    """
    values_PG = [_values(group, settings) for group in groups]
    centered_PG = [_centered(values, settings.baseline) for values in values_PG]
    scaled_PG = _scaled(centered_PG, values_PG, groups, settings)
    if settings.difficulty_weighting:
        scaled_PG = [_weighted(scaled, group.correct) for scaled, group in zip(scaled_PG, groups, strict=True)]
    return [_without_gaps(group) for group in scaled_PG]


def _without_gaps(advantages: Rewards) -> list[float]:
    return [0.0 if a is None else a for a in advantages]


def all_equal(rewards: Rewards) -> bool:
    """Whether a group teaches nothing: its scored rewards are equal, or fewer than two."""
    scored = _scored(rewards)
    return not scored or max(scored) - min(scored) <= EQUAL_TOLERANCE


def fraction_equal(rewards: Sequence[Rewards]) -> float:
    """The share of groups that teach nothing.

    >>> fraction_equal([[1.0, 1.0], [0.0, 1.0], [None, 1.0], [0.0, 2.0]])
    0.5
    """
    return fmean(map(all_equal, rewards))


def difficulty_weight(solved: float) -> float:
    """GRPO-LEAD's w(rho) = A + (B - A) / (1 + exp(k (rho - rho_0))): from 1.5, nothing `solved`, to 0.48, all.

    The paper's A = 0.4, B = 1.5, rho_0 = 0.75, k = 10. Good completions of hard problems weigh
    more, and so do, by w(1 - rho), bad ones of easy problems.

    >>> [round(difficulty_weight(solved), 6) for solved in (0, 0.75, 1)]
    [1.499392, 0.95, 0.483444]
    """
    return 0.4 + (1.5 - 0.4) / (1 + math.exp(10 * (solved - 0.75)))


def _values(group: Group, settings: AdvantageSettings) -> list[float | None]:
    """The rewards, None for all that are missing; or the sum of the parts' z-scores (GDPO, arXiv 2601.05242)."""
    missing = [reward is None or math.isnan(reward) for reward in group.rewards]
    if not settings.per_component:
        return _with_gaps(group.rewards, missing)
    sums = [0.0] * len(missing)
    for part in group.parts.values():
        scores = _standardized(_with_gaps(part, missing), settings.std_floor)
        for n, score in enumerate(scores):
            sums[n] += score or 0.0
    return _with_gaps(sums, missing)


def _with_gaps(values: Rewards, missing: Sequence[bool]) -> list[float | None]:
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _standardized(values: Rewards, floor: float) -> list[float | None]:
    return _divided(_centered(values, "mean"), _std(values) + floor)


def _centered(values: Rewards, baseline: str) -> list[float | None]:
    scored = _scored(values)
    if all_equal(values):
        return [None if value is None else 0.0 for value in values]
    mean = fmean(scored)
    factor = len(scored) / (len(scored) - 1) if baseline == "leave_one_out" else 1.0
    return [None if value is None else factor * (value - mean) for value in values]


def _scaled(
    centered_PG: Sequence[Rewards], values_PG: Sequence[Rewards], groups: Sequence[Group], settings: AdvantageSettings
) -> list[list[float | None]]:
    floor = settings.std_floor
    match settings.scale:
        case "group":
            return [_divided(c, _std(v) + floor) for c, v in zip(centered_PG, values_PG, strict=True)]
        case "batch":
            std = _std(list(chain.from_iterable(values_PG)))
            return [_divided(centered, std + floor) for centered in centered_PG]
        case "tokens":
            return _whitened(centered_PG, [group.lengths for group in groups], floor)
    return [list(centered) for centered in centered_PG]


def _whitened(
    centered_PG: Sequence[Rewards], lengths_PG: Sequence[Sequence[int]], floor: float
) -> list[list[float | None]]:
    """Mean 0 and std 1 over tokens; that of all groups is shifted, those with equal rewards too, as published."""
    weighed: list[tuple[float, int]] = []  # each advantage, and the tokens that have it
    for centered, lengths in zip(centered_PG, lengths_PG, strict=True):
        for a, length in zip(centered, lengths, strict=True):
            if a is not None:
                weighed.append((a, length))
    if not any(a for a, _ in weighed):
        return [list(centered) for centered in centered_PG]
    tokens = sum(length for _, length in weighed)
    mean = sum(a * length for a, length in weighed) / tokens
    variance = sum((a - mean) ** 2 * length for a, length in weighed) / (tokens - 1)
    whitened_PG: list[list[float | None]] = []
    for centered in centered_PG:
        shifted = [None if a is None else a - mean for a in centered]
        whitened_PG.append(_divided(shifted, math.sqrt(variance) + floor))
    return whitened_PG


def _divided(advantages: Rewards, scale: float) -> list[float | None]:
    return [a / scale if a else a for a in advantages]  # where all are 0, so may be the scale


def _std(values: Rewards) -> float:
    scored = _scored(values)
    return stdev(scored) if len(scored) > 1 else 0.0


def _weighted(advantages: Rewards, correct: Sequence[bool]) -> list[float | None]:
    up, down = difficulty_weight(fmean(correct)), difficulty_weight(1 - fmean(correct))
    return [None if a is None else a * (up if a > 0 else down) for a in advantages]


def _scored(rewards: Rewards) -> list[float]:
    scored = [reward for reward in rewards if reward is not None and not math.isnan(reward)]
    if any(map(math.isinf, scored)):
        raise ValueError(f"rewards must be finite, got {list(rewards)}")
    return scored
