"""The completions that GRPO learns from: which problems a step takes, with which seeds, and how often it asks anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Protocol

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.rewards.group import right
from budgetrl.rewards.reward import Reward
from budgetrl.rollout.collect import Collector, Sample, collect_on_all_ranks
from budgetrl.rollout.seeds import asked_budgets
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.training.advantages import all_equal

Samples = Sequence[Sample]
"""The completions of one prompt."""


class Batches(Protocol):
    """A stage's own settings for how much is written."""

    @property
    def steps(self) -> int: ...
    @property
    def prompts_per_step(self) -> int: ...
    @property
    def group_size(self) -> int: ...


@dataclass(frozen=True)
class Written:
    """The completions [P][G] of a rollout."""

    samples_PG: Sequence[Samples]
    informative: int
    """How many groups, from the first one, are to be learned from; the others only fill the batch."""
    effort: dict[str, float]
    """What they took, to be logged."""


@dataclass(frozen=True)
class Writer:
    """Writes the completions [P][G] of a rollout, on every rank.

    Problems and seeds depend on the run's seed, the step, the attempt and the place in the batch alone, so that a
    resumed run writes the same.
    """

    pool: Sequence[Problem]
    collector: Collector
    how: Batches
    config: Config
    ctx: Context

    def __call__(self, step: int, reward: Reward, progress: float) -> "Written":
        """Those of this step and the next few; `step` counts from 0.

        With dynamic sampling the verdicts, or what `reward` gives at this progress of training, say which are kept.
        """
        algorithm, by = self.config.algorithm, self.config.algorithm.drop_equal_groups
        count = algorithm.optimizer_steps_per_rollout * self.how.prompts_per_step

        def write(attempt: int, missing: int) -> list[list[Sample]]:
            return self._write(self._problems(step, attempt, missing), step, attempt * count)

        def values(group: Samples) -> Sequence[float]:
            outcomes = [sample.outcome for sample in group]
            return [right(o) for o in outcomes] if by == "verdict" else reward(outcomes, progress)

        if not algorithm.drops_groups:
            return Written(write(0, count), count, {})
        return informative_groups(write, values, count, algorithm.max_rollouts)

    def _problems(self, step: int, attempt: int, count: int) -> list[Problem]:
        """A further attempt reads the endless list of problems as many whole trainings on."""
        start = (attempt * self.how.steps + step) * self.how.prompts_per_step
        return draw(self.pool, start, count, self.config.seed)

    def _write(self, problems: Sequence[Problem], step: int, first: int) -> list[list[Sample]]:
        """The completions [P][G] of the problems; `first` is the place of the first one in the rollout."""
        seeds = [
            [derive_seed(self.config.seed, "grpo", step, place, p.id, n) for n in range(self.how.group_size)]
            for place, p in enumerate(problems, start=first)
        ]
        asked = asked_budgets(self.config, self.collector.fmt, f"grpo {step}", problems)
        groups = collect_on_all_ranks(self.collector, problems, seeds, asked, self.ctx.world)
        _check_version(groups, step)
        return groups


def _check_version(groups: Sequence[Samples], step: int) -> None:
    """RuntimeError if a completion was not generated with the weights that have taken `step` optimizer steps."""
    for group in groups:
        for sample in group:
            version = sample.completion.version
            if version != step:
                raise RuntimeError(f"a completion for step {step} comes from the weights of step {version}: sync first")


def informative_groups(
    write: Callable[[int, int], Sequence[Samples]],
    values: Callable[[Samples], Sequence[float]],
    count: int,
    most: int,
) -> Written:
    """`count` groups whose values, rewards or verdicts, differ, and what that took (DAPO's dynamic sampling, arXiv
    2503.14476).

    `write(attempt, n)` gives n groups; after the first attempt it is asked for as many as are
    missing, `most` attempts in all. What is missing then is made up of the first groups of equal
    values, of which nothing is learned: the batch keeps its size. (Ours: DAPO rolls out whole batches, and drops
    what is left over.)
    """
    kept: list[Samples] = []
    equal: list[Samples] = []
    attempts = 0
    while len(kept) < count and attempts < most:
        for group in write(attempts, count - len(kept)):
            (equal if all_equal(values(group)) else kept).append(group)
        attempts += 1
    effort: dict[str, float] = {
        "rollouts": attempts,
        "groups_dropped": len(kept) + len(equal) - count,
        "groups_made_up": max(0, count - len(kept)),
    }
    return Written([*kept, *equal][:count], min(count, len(kept)), effort)


def draw(pool: Sequence[Problem], start: int, count: int, seed: int) -> list[Problem]:
    """Problems number `start` to `start + count` of an endless list that shuffles the pool anew each time round."""
    chosen = []
    for epoch, position in (divmod(i, len(pool)) for i in range(start, start + count)):
        chosen.append(pool[_order(len(pool), seed, epoch)[position]])
    return chosen


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> list[int]:
    return Random(derive_seed(seed, "order", epoch)).sample(range(size), size)
