"""Sampling for GRPO: which problems a step uses, with which seeds, and dynamic sampling of further groups."""

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
from budgetrl.training.advantages import Rewards, all_equal, without_length_if_all_wrong


@dataclass(frozen=True)
class RewardedGroup:
    """The G completions of one prompt, with their rewards."""

    samples: Sequence[Sample]
    parts: Parts
    """The named parts of the rewards, G numbers each."""
    rewards: Sequence[float]
    """The sum of the parts for each completion."""

    @staticmethod
    def of(samples: Sequence[Sample], reward: Reward, progress: float) -> "RewardedGroup":
        """Compute the rewards of a group at the given training progress, from 0 to 1."""
        parts = reward.checked_parts([sample.outcome for sample in samples], progress)
        return RewardedGroup(samples, parts, total(parts))

    @property
    def outcomes(self) -> list[Outcome]:
        """The graded completions, G of them."""
        return [sample.outcome for sample in self.samples]


@dataclass(frozen=True)
class SampledGroups:
    """The groups of a rollout, P of them."""

    groups: Sequence[RewardedGroup]
    informative: int
    """The first `informative` groups are trained on. The others only fill the batch; their advantages are 0."""
    metrics: dict[str, float]
    """Metrics of dynamic sampling, such as the number of rollouts; empty without it."""

    @property
    def outcomes(self) -> list[list[Outcome]]:
        """The graded completions [P][G]."""
        return [group.outcomes for group in self.groups]


class BatchSizes(Protocol):
    """Settings of a stage that say how much to generate."""

    @property
    def steps(self) -> int: ...
    @property
    def prompts_per_step(self) -> int: ...
    @property
    def group_size(self) -> int: ...


@dataclass(frozen=True)
class Sampler:
    """Generates and rewards the groups of a rollout. Every rank gets all of them.

    Problems and seeds depend only on the run's seed, the step, the attempt and the position in the batch. So a resumed
    run generates the same completions.
    """

    pool: Sequence[Problem]
    collector: Collector
    sizes: BatchSizes
    config: Config
    ctx: Context

    def __call__(self, step: int, reward: Reward, progress: float) -> SampledGroups:
        """Generate the completions for step `step`, counted from 0, and the following steps that share the rollout.

        With dynamic sampling (`algorithm.groups.drop_equal`), groups whose rewards or verdicts are all equal are
        replaced.
        """
        groups, updates = self.config.algorithm.groups, self.config.algorithm.optimizer_steps_per_rollout
        count = updates * self.sizes.prompts_per_step

        def generate(attempt: int, missing: int) -> list[RewardedGroup]:
            problems = self._problems(step, attempt, missing)
            # Positions go on from attempt to attempt, so that a problem drawn again gets other seeds.
            samples_PG = self._generate(problems, step, first=attempt * count)
            return [RewardedGroup.of(samples, reward, progress) for samples in samples_PG]

        if not groups.drops_equal:
            return SampledGroups(generate(0, count), count, {})
        values = correctness if groups.drop_equal == "verdict" else rewards
        if groups.drop_equal == "reward" and self.config.algorithm.advantage.length_when_all_wrong == "ignored":
            values = leveled_rewards
        return informative_groups(generate, values, count, groups.max_rollouts)

    def _problems(self, step: int, attempt: int, count: int) -> list[Problem]:
        """Return the problems of an attempt."""
        # Attempt k reads where the problems of k whole runs end, so it takes none that attempt 0 of a later step needs.
        start = (attempt * self.sizes.steps + step) * self.sizes.prompts_per_step
        return shuffled_problems(self.pool, start, count, self.config.seed)

    def _generate(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Sample]]:
        """Return completions [P][G] of the problems; `first` is the position of the first one in the rollout."""
        seeds_PG: list[list[int]] = []
        for position, problem in enumerate(problems, start=first):
            key = (self.config.seed, "grpo", step, position, problem.id)
            seeds_PG.append([derive_seed(*key, n) for n in range(self.sizes.group_size)])
        asked = asked_budgets(self.config, self.collector.fmt, f"grpo {step}", problems)
        samples_PG = collect_on_all_ranks(self.collector, problems, seeds_PG, asked, self.ctx.world)
        _check_version(samples_PG, step)
        return samples_PG


def _check_version(groups: Sequence[Sequence[Sample]], step: int) -> None:
    """Raise RuntimeError if a completion was not generated with the weights after `step` optimizer steps.

    Such off-policy data would train without any visible error, so it is checked.
    """
    for group in groups:
        for sample in group:
            version = sample.completion.version
            if version != step:
                text = f"a completion for step {step} was generated with the weights of step {version}"
                raise RuntimeError(f"{text}; call engine.sync({step}) first")


def correctness(group: RewardedGroup) -> Sequence[float]:
    """Return 1 for each correct, well-formed completion of a group, else 0."""
    return [is_right(outcome) for outcome in group.outcomes]


def rewards(group: RewardedGroup) -> Sequence[float]:
    """Return the rewards of a group."""
    return group.rewards


def leveled_rewards(group: RewardedGroup) -> Sequence[float | None]:
    """Return the rewards of a group, which are equal if all its completions are wrong and well formed."""
    correct = [is_right(outcome) for outcome in group.outcomes]
    well_formed = [outcome.well_formed for outcome in group.outcomes]
    return without_length_if_all_wrong(group.rewards, correct, well_formed)


def informative_groups(
    generate: Callable[[int, int], Sequence[RewardedGroup]],
    values: Callable[[RewardedGroup], Rewards],
    count: int,
    max_attempts: int,
) -> SampledGroups:
    """Collect `count` groups with different values (DAPO's dynamic sampling, arXiv 2503.14476).

    Groups whose values are all equal have advantages of 0. They are dropped, and each further attempt generates only as
    many groups as are missing. (This is ours: DAPO generates whole batches and drops the surplus.) If groups are still
    missing after the last attempt, the first dropped ones fill the batch, so its size never changes.

    Args:
        generate: `generate(attempt, n)` returns n groups.
        values: returns the rewards or verdicts of a group.
        count: number of groups wanted.
        max_attempts: maximum number of calls of `generate`.
    """
    kept: list[RewardedGroup] = []
    equal: list[RewardedGroup] = []
    attempts = 0
    while len(kept) < count and attempts < max_attempts:
        for group in generate(attempts, count - len(kept)):
            (equal if all_equal(values(group)) else kept).append(group)
        attempts += 1
    metrics: dict[str, float] = {
        "rollouts": attempts,
        "groups_dropped": len(kept) + len(equal) - count,
        "groups_made_up": max(0, count - len(kept)),
    }
    groups = [*kept, *equal][:count]
    return SampledGroups(groups, min(count, len(kept)), metrics)


def shuffled_problems(pool: Sequence[Problem], start: int, count: int, seed: int) -> list[Problem]:
    """Return problems `start` to `start + count` of an endless list: the pool, shuffled for each epoch."""
    chosen = []
    for index in range(start, start + count):
        epoch, position = divmod(index, len(pool))
        order = _epoch_order(len(pool), seed, epoch)
        chosen.append(pool[order[position]])
    return chosen


@lru_cache(maxsize=4)  # called for every problem; a batch seldom spans more than two epochs
def _epoch_order(size: int, seed: int, epoch: int) -> list[int]:
    return Random(derive_seed(seed, "order", epoch)).sample(range(size), size)
