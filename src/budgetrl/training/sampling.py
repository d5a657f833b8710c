"""The completions that GRPO learns from: which problems a step takes, with which seeds, and how often it asks anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Protocol

from budgetrl.core.records import Outcome, Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts, Reward, total
from budgetrl.rollout.collect import Collector, Sample, collect_on_all_ranks
from budgetrl.rollout.seeds import asked_budgets
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.training.advantages import all_equal


@dataclass(frozen=True)
class RewardedGroup:
    """The completions of one prompt and what they earned, G of each."""

    samples: Sequence[Sample]
    parts: Parts
    """The named parts of the rewards, G numbers each."""
    rewards: Sequence[float]
    """What the parts sum to."""

    @staticmethod
    def of(samples: Sequence[Sample], reward: Reward, progress: float) -> "RewardedGroup":
        """Ask the reward, at this progress of training."""
        parts = reward.checked_parts([sample.outcome for sample in samples], progress)
        return RewardedGroup(samples, parts, total(parts))

    @property
    def outcomes(self) -> list[Outcome]:
        return [sample.outcome for sample in self.samples]


@dataclass(frozen=True)
class SampledGroups:
    """The groups [P] of a rollout."""

    groups: Sequence[RewardedGroup]
    informative: int
    """How many groups, from the first one, are to be learned from; the others only fill the batch."""
    metrics: dict[str, float]
    """What they took, to be logged."""

    @property
    def outcomes(self) -> list[list[Outcome]]:
        """[P][G]."""
        return [group.outcomes for group in self.groups]


class BatchSizes(Protocol):
    """A stage's own settings for how much is written."""

    @property
    def steps(self) -> int: ...
    @property
    def prompts_per_step(self) -> int: ...
    @property
    def group_size(self) -> int: ...


@dataclass(frozen=True)
class Sampler:
    """Writes and rewards the groups of a rollout, on every rank.

    Problems and seeds depend on the run's seed, the step, the attempt and the place in the batch alone, so that a
    resumed run writes the same.
    """

    pool: Sequence[Problem]
    collector: Collector
    sizes: BatchSizes
    config: Config
    ctx: Context

    def __call__(self, step: int, reward: Reward, progress: float) -> SampledGroups:
        """The completions of this step and the next few; `step` counts from 0.

        With dynamic sampling, verdicts or rewards say which groups are kept.
        """
        groups, updates = self.config.algorithm.groups, self.config.algorithm.optimizer_steps_per_rollout
        count = updates * self.sizes.prompts_per_step

        def write(attempt: int, missing: int) -> list[RewardedGroup]:
            problems = self._problems(step, attempt, missing)
            samples_PG = self._write(problems, step, first=attempt * count)
            return [RewardedGroup.of(samples, reward, progress) for samples in samples_PG]

        if not groups.drops_equal:
            return SampledGroups(write(0, count), count, {})
        values = verdicts if groups.drop_equal == "verdict" else rewards
        return informative_groups(write, values, count, groups.max_rollouts)

    def _problems(self, step: int, attempt: int, count: int) -> list[Problem]:
        """A further attempt reads the endless list of problems as many whole trainings on."""
        start = (attempt * self.sizes.steps + step) * self.sizes.prompts_per_step
        return shuffled_problems(self.pool, start, count, self.config.seed)

    def _write(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Sample]]:
        """The completions [P][G] of the problems; `first` is the place of the first one in the rollout."""
        seeds_PG: list[list[int]] = []
        for place, problem in enumerate(problems, start=first):
            key = (self.config.seed, "grpo", step, place, problem.id)
            seeds_PG.append([derive_seed(*key, n) for n in range(self.sizes.group_size)])
        asked = asked_budgets(self.config, self.collector.fmt, f"grpo {step}", problems)
        samples_PG = collect_on_all_ranks(self.collector, problems, seeds_PG, asked, self.ctx.world)
        _check_version(samples_PG, step)
        return samples_PG


def _check_version(groups: Sequence[Sequence[Sample]], step: int) -> None:
    """RuntimeError if a completion was not generated with the weights that have taken `step` optimizer steps."""
    for group in groups:
        for sample in group:
            version = sample.completion.version
            if version != step:
                raise RuntimeError(f"a completion for step {step} comes from the weights of step {version}: sync first")


def verdicts(group: RewardedGroup) -> Sequence[float]:
    """Which completions of a group are right, as 1 and 0."""
    return [is_right(outcome) for outcome in group.outcomes]


def rewards(group: RewardedGroup) -> Sequence[float]:
    """What the completions of a group earned."""
    return group.rewards


def informative_groups(
    write: Callable[[int, int], Sequence[RewardedGroup]],
    values: Callable[[RewardedGroup], Sequence[float]],
    count: int,
    most: int,
) -> SampledGroups:
    """`count` groups whose values, rewards or verdicts, differ, and what that took (DAPO's dynamic sampling, arXiv
    2503.14476).

    `write(attempt, n)` gives n groups; after the first attempt it is asked for as many as are
    missing, `most` attempts in all. What is missing then is made up of the first groups of equal
    values, of which nothing is learned: the batch keeps its size. (Ours: DAPO rolls out whole batches, and drops
    what is left over.)
    """
    kept: list[RewardedGroup] = []
    equal: list[RewardedGroup] = []
    attempts = 0
    while len(kept) < count and attempts < most:
        for group in write(attempts, count - len(kept)):
            (equal if all_equal(values(group)) else kept).append(group)
        attempts += 1
    metrics: dict[str, float] = {
        "rollouts": attempts,
        "groups_dropped": len(kept) + len(equal) - count,
        "groups_made_up": max(0, count - len(kept)),
    }
    return SampledGroups([*kept, *equal][:count], min(count, len(kept)), metrics)


def shuffled_problems(pool: Sequence[Problem], start: int, count: int, seed: int) -> list[Problem]:
    """Problems number `start` to `start + count` of an endless list that shuffles the pool anew each time round."""
    chosen = []
    for place in range(start, start + count):
        epoch, position = divmod(place, len(pool))
        chosen.append(pool[_order(len(pool), seed, epoch)[position]])
    return chosen


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> list[int]:
    return Random(derive_seed(seed, "order", epoch)).sample(range(size), size)
