"""What GRPO makes of a batch of graded completions: rewards, advantages, experience, numbers to log."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from budgetrl.grading.rows import verification_rates
from budgetrl.metrics.keys import REWARD, reward_part
from budgetrl.metrics.summary import batch_metrics
from budgetrl.rewards.group import right
from budgetrl.rewards.reward import Controller, Parts
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.runs.folder import Row
from budgetrl.settings.algorithm import Algorithm
from budgetrl.training.advantages import Group, equal_share, group_advantages
from budgetrl.training.batching import minibatches
from budgetrl.training.policy_step import Experience
from budgetrl.training.writing import Written


@dataclass(frozen=True)
class Rollout:
    """The completions [P][G] of one rollout with their rewards; `experience` is flat, prompt by prompt."""

    samples_PG: Sequence[Sequence[Sample]]
    parts_P: Sequence[Parts]
    """The parts of each group's rewards, G numbers each."""
    rewards_PG: Sequence[Sequence[float]]
    experience: list[Experience]
    coefficients: dict[str, float]
    """Where the reward's schedules stand, such as alpha."""

    @staticmethod
    def of(
        written: Written,
        controller: Controller,
        progress: float,
        algorithm: Algorithm,
        collector: Collector,
    ) -> "Rollout":
        """Reward every group, let the reward's controller learn from them, and turn rewards into advantages: of
        groups that only fill the batch, 0."""
        reward, samples_PG, informative = controller.reward, written.samples_PG, written.informative
        outcomes_PG = [[sample.outcome for sample in group] for group in samples_PG]
        rewards_PG = [reward(group, progress) for group in outcomes_PG]
        parts_P = [reward.parts(group, progress) for group in outcomes_PG]
        groups = [_group(*group) for group in zip(samples_PG, rewards_PG, parts_P, strict=True)]
        advantages_PG = group_advantages(groups[:informative], algorithm)
        advantages_PG += [[0.0] * len(group) for group in samples_PG[informative:]]
        experience = [
            _experience(sample, advantage, collector)
            for group, advantages in zip(samples_PG, advantages_PG, strict=True)
            for sample, advantage in zip(group, advantages, strict=True)
        ]
        controller.update(outcomes_PG)
        return Rollout(samples_PG, parts_P, rewards_PG, experience, reward.schedule(progress))

    @property
    def tokens(self) -> int:
        """Tokens written."""
        return sum(len(e.completion_ids) for e in self.experience)

    def minibatches(self, count: int) -> list[slice]:
        """Slices of `experience` of whole groups, one for each optimizer step."""
        size = len(self.samples_PG[0])
        return [slice(part.start * size, part.stop * size) for part in minibatches(len(self.samples_PG), count)]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The rollout's line in metrics.jsonl."""
        samples = [sample for group in self.samples_PG for sample in group]
        parts = {
            reward_part(name): fmean(value for parts in self.parts_P for value in parts[name])
            for name in self.parts_P[0]
        }
        return {
            REWARD: fmean(reward for group in self.rewards_PG for reward in group),
            **parts,
            **batch_metrics(sample.outcome for sample in samples).flat(),
            **self.coefficients,
            "groups_equal": equal_share(self.rewards_PG),
            "b_max_finite": fmean(not math.isinf(group[0].outcome.b_max) for group in self.samples_PG),
            **verification_rates([sample.verdict for sample in samples]),
        }

    def rows(self, step: int, limit: int) -> list[Row]:
        """The first `limit` completions as rows of completions.jsonl, with their reward and its parts."""
        rows: list[Row] = []
        for group, rewards, parts in zip(self.samples_PG, self.rewards_PG, self.parts_P, strict=True):
            for n, sample in enumerate(group):
                rewarded = {reward_part(name): values[n] for name, values in parts.items()}
                rows.append({"step": step, **sample.row, REWARD: rewards[n], **rewarded})
        return rows[:limit]


def _group(samples: Sequence[Sample], rewards: Sequence[float], parts: Parts) -> Group:
    lengths = [len(sample.completion.token_ids) for sample in samples]
    return Group(rewards, parts, lengths, [right(sample.outcome) for sample in samples])


def _experience(sample: Sample, advantage: float, collector: Collector) -> Experience:
    given = len(sample.prompt.prefix_ids)
    field = collector.codec.budget_field(sample.response_ids, collector.fmt, prefilled=given)
    return Experience(
        prompt_ids=sample.prompt.all_ids,
        completion_ids=sample.completion.token_ids,
        logprobs=sample.completion.logprobs,
        advantage=advantage,
        budget_field=field,
        truncated=not sample.completion.finished,
    )
