"""Advantages relative to the group: how much better a completion did than the others of the same prompt.

A completion's value v is its reward, or with `per_component` the sum of its standardized reward parts. Before that,
`length_when_all_wrong=ignored` levels the rewards of groups without a right answer. Three steps, each selected by
`algorithm.advantage`, turn the values of a group into advantages a:

1. baseline       mean: a = v - mean of the group
                  leave_one_out: a = v - mean of the others = G / (G - 1) (v - mean)      (RLOO)
2. scale          group: a / (std of v in the group + floor)                              (GRPO, arXiv 2402.03300)
                  batch: a / (std of v in the batch + floor)                              (Lite PPO, arXiv 2508.08221)
                  tokens: (a - mean) / (std + floor), with mean and std over all tokens of the batch, where each token
                  has its completion's a                          (REINFORCE++ with baseline, arXiv 2501.03262)
                  none: a                                                                 (Dr. GRPO, arXiv 2503.20783)
3. difficulty     a w(rho) where a > 0, else a w(1 - rho), rho = solve rate of the group  (GRPO-LEAD, arXiv 2504.09696)

Every std has n - 1 in its denominator. "The batch" is all groups of a rollout, even if several optimizer steps share
it. Names ending in _PG are lists indexed by prompt, then by completion in the group.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, stdev

from budgetrl.settings.algorithm import AdvantageSettings

Rewards = Sequence[float | None]
"""Numbers for the completions of one prompt; None or NaN for a completion that could not be scored."""

EQUAL_TOLERANCE = 1e-9
"""Rewards this close are equal. Their difference is rounding error, which dividing by a tiny std would amplify."""


@dataclass(frozen=True)
class Group:
    """The graded completions of one prompt, G of them."""

    rewards: Rewards
    parts: Mapping[str, Sequence[float]]
    """The named parts of the rewards, G numbers each. Used by `per_component`."""
    lengths: Sequence[int]
    """Number of trained tokens of each completion. Used by scale `tokens`."""
    correct: Sequence[bool]
    """Which completions are correct and well formed. Used by `difficulty_weighting` and `length_when_all_wrong`."""
    well_formed: Sequence[bool]
    """Which completions are well formed. Used by `length_when_all_wrong`."""


def group_advantages(groups: Sequence[Group], settings: AdvantageSettings) -> list[list[float]]:
    """Compute the advantages [P][G] of a rollout's groups.

    A completion without a score gets advantage 0 and counts in no mean or std. In a group whose values are all equal,
    a = 0 before scaling.

    Raises:
        ValueError: an infinite reward.

    >>> groups = [Group([1.0, 0.0, None, 0.0], {}, [5] * 4, [True, False, False, False], [True] * 4)]
    >>> group_advantages(groups, AdvantageSettings(scale="none"))
    [[0.6666666666666667, -0.3333333333333333, 0.0, -0.3333333333333333]]
    """
    # 1. Baseline, group by group.
    values_PG: list[Rewards] = []
    centered_PG: list[Rewards] = []
    for group in groups:
        values = _values(group, settings)
        values_PG.append(values)
        centered_PG.append(_centered(values, settings.baseline))

    # 2. Scale, which may need all groups.
    scaled_PG = _scaled(centered_PG, values_PG, groups, settings)

    # 3. Difficulty, and 0 for completions without a score.
    advantages_PG: list[list[float]] = []
    for group, scaled in zip(groups, scaled_PG, strict=True):
        weighted = _weighted(scaled, group.correct) if settings.difficulty_weighting else scaled
        advantages_PG.append([0.0 if a is None else a for a in weighted])
    return advantages_PG


def without_length_if_all_wrong(
    values: Rewards, correct: Sequence[bool], well_formed: Sequence[bool]
) -> list[float | None]:
    """Return the values of a group (`length_when_all_wrong=ignored`); they change only if no completion is correct.

    Then each well-formed completion gets the mean of the well-formed ones. Each malformed one gets the mean of the
    malformed ones, but no more than the well-formed ones get, so that a malformed response is not an easy way out.

    >>> without_length_if_all_wrong([-0.25, -0.75, -2.0], [False] * 3, [True, True, False])
    [-0.5, -0.5, -2.0]
    """
    if any(correct):
        return list(values)
    wrong: list[float] = []
    malformed: list[float] = []
    for value, formed in zip(values, well_formed, strict=True):
        if value is not None:
            (wrong if formed else malformed).append(value)
    wrong_mean = fmean(wrong) if wrong else math.inf
    malformed_mean = min(fmean(malformed), wrong_mean) if malformed else 0.0
    leveled: list[float | None] = []
    for value, formed in zip(values, well_formed, strict=True):
        leveled.append(None if value is None else wrong_mean if formed else malformed_mean)
    return leveled


def all_equal(rewards: Rewards) -> bool:
    """Return whether a group has no learning signal: its scored rewards are all equal, or there are fewer than two."""
    scored = _scored(rewards)
    return not scored or max(scored) - min(scored) <= EQUAL_TOLERANCE


def fraction_equal(rewards: Sequence[Rewards]) -> float:
    """Return the fraction of groups that have no learning signal.

    >>> fraction_equal([[1.0, 1.0], [0.0, 1.0], [None, 1.0], [0.0, 2.0]])
    0.5
    """
    return fmean(map(all_equal, rewards))


def difficulty_weight(solved: float) -> float:
    """Return GRPO-LEAD's w(rho) = A + (B - A) / (1 + exp(k (rho - rho_0))), where rho is the fraction `solved`.

    A = 0.4, B = 1.5, rho_0 = 0.75 and k = 10 are the paper's. The weight falls from 1.5 if nothing is solved to 0.48 if
    everything is. Good completions of hard problems therefore count for more and, through w(1 - rho), so do bad
    completions of easy problems.

    >>> [round(difficulty_weight(solved), 6) for solved in (0, 0.75, 1)]
    [1.499392, 0.95, 0.483444]
    """
    return 0.4 + (1.5 - 0.4) / (1 + math.exp(10 * (solved - 0.75)))


def _values(group: Group, settings: AdvantageSettings) -> list[float | None]:
    """Return the rewards, or with `per_component` the sum of the parts' z-scores (GDPO, arXiv 2601.05242).

    Missing values are None.
    """
    missing = [reward is None or math.isnan(reward) for reward in group.rewards]

    def scored(values: Rewards) -> list[float | None]:
        found = _with_gaps(values, missing)
        if settings.length_when_all_wrong == "published":
            return found
        return without_length_if_all_wrong(found, group.correct, group.well_formed)

    if not settings.per_component:
        return scored(group.rewards)
    sums = [0.0] * len(missing)
    for part in group.parts.values():
        values = scored(part)
        z_scores = _divided(_centered(values, "mean"), _std(values) + settings.std_floor)
        for n, z in enumerate(z_scores):
            sums[n] += z or 0.0
    return _with_gaps(sums, missing)


def _with_gaps(values: Rewards, missing: Sequence[bool]) -> list[float | None]:
    """Return the values with None where they are missing."""
    return [None if is_missing else value for value, is_missing in zip(values, missing, strict=True)]


def _centered(values: Rewards, baseline: str) -> list[float | None]:
    """Return values minus their baseline. Missing values stay None."""
    scored = _scored(values)
    equal = all_equal(values)
    mean, factor = 0.0, 1.0
    if not equal:
        mean = fmean(scored)
        if baseline == "leave_one_out":
            # v - mean of the others = n / (n - 1) (v - mean of all)
            factor = len(scored) / (len(scored) - 1)
    centered: list[float | None] = []
    for value in values:
        if value is None:
            centered.append(None)
        else:
            # Equal values give exactly 0, where the subtraction could leave rounding error.
            centered.append(0.0 if equal else factor * (value - mean))
    return centered


def _scaled(
    centered_PG: Sequence[Rewards], values_PG: Sequence[Rewards], groups: Sequence[Group], settings: AdvantageSettings
) -> list[list[float | None]]:
    """Apply the configured scale to all groups of a rollout."""
    floor = settings.std_floor
    scaled_PG: list[list[float | None]] = []
    match settings.scale:
        case "group":
            for centered, values in zip(centered_PG, values_PG, strict=True):
                scaled_PG.append(_divided(centered, _std(values) + floor))
        case "batch":
            std = _std(list(chain.from_iterable(values_PG)))
            for centered in centered_PG:
                scaled_PG.append(_divided(centered, std + floor))
        case "tokens":
            return _whitened(centered_PG, groups, floor)
        case _:
            scaled_PG += map(list, centered_PG)
    return scaled_PG


def _whitened(centered_PG: Sequence[Rewards], groups: Sequence[Group], floor: float) -> list[list[float | None]]:
    """Shift and scale to mean 0 and std 1 over all tokens.

    All groups are shifted by the same mean, including those with equal rewards, as published.
    """
    weighted: list[tuple[float, int]] = []  # (advantage, number of tokens that have it)
    tokens = 0
    for centered, group in zip(centered_PG, groups, strict=True):
        for a, length in zip(centered, group.lengths, strict=True):
            if a is not None:
                weighted.append((a, length))
                tokens += length
    if not any(a for a, _ in weighted):
        # No group has a learning signal; the std is 0, and so may be the floor.
        return list(map(list, centered_PG))
    mean = sum(a * length for a, length in weighted) / tokens
    variance = sum((a - mean) ** 2 * length for a, length in weighted) / (tokens - 1)
    whitened_PG: list[list[float | None]] = []
    for centered in centered_PG:
        shifted = [None if a is None else a - mean for a in centered]
        whitened_PG.append(_divided(shifted, math.sqrt(variance) + floor))
    return whitened_PG


def _divided(advantages: Rewards, scale: float) -> list[float | None]:
    # The scale is 0 only if all advantages are 0, so those are not divided.
    return [a / scale if a else a for a in advantages]


def _std(values: Rewards) -> float:
    scored = _scored(values)
    return stdev(scored) if len(scored) > 1 else 0.0


def _weighted(advantages: Rewards, correct: Sequence[bool]) -> list[float | None]:
    """Weight the advantages of one group by its difficulty."""
    solved = fmean(correct)
    weight_up, weight_down = difficulty_weight(solved), difficulty_weight(1 - solved)
    weighted: list[float | None] = []
    for a in advantages:
        weighted.append(None if a is None else a * (weight_up if a > 0 else weight_down))
    return weighted


def _scored(rewards: Rewards) -> list[float]:
    """Return the rewards that are not missing."""
    scored = [reward for reward in rewards if reward is not None and not math.isnan(reward)]
    if any(map(math.isinf, scored)):
        raise ValueError(f"rewards must be finite, got {list(rewards)}")
    return scored
