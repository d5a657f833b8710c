"""What GRPO makes of rewarded completions: advantages, data to learn from, numbers and rows to log."""

import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from budgetrl.grading.rows import verification_rates
from budgetrl.metrics.keys import REWARD, reward_part
from budgetrl.metrics.summary import batch_metrics
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.runs.folder import Row
from budgetrl.settings.algorithm import AdvantageSettings
from budgetrl.training.advantages import Group, fraction_equal, group_advantages
from budgetrl.training.batching import split_evenly
from budgetrl.training.policy_gradient import PolicyDatum
from budgetrl.training.sampling import RewardedGroup, SampledGroups, verdicts
from budgetrl.training.step import Unit, single_units


def rollout_advantages(sampled: SampledGroups, settings: AdvantageSettings) -> list[list[float]]:
    """Advantages [P][G]; 0 in groups that only fill the batch."""
    informative, fillers = sampled.groups[: sampled.informative], sampled.groups[sampled.informative :]
    advantages_PG = group_advantages([_group(group) for group in informative], settings)
    for group in fillers:
        advantages_PG.append([0.0] * len(group.samples))
    return advantages_PG


def policy_data(group: RewardedGroup, advantages: Sequence[float], collector: Collector) -> list[PolicyDatum]:
    """What is learned from the completions of one prompt."""
    pairs = zip(group.samples, advantages, strict=True)
    return [_policy_datum(sample, advantage, collector) for sample, advantage in pairs]


def split_minibatches(data_PG: Sequence[Sequence[PolicyDatum]], count: int) -> list[list[Unit[PolicyDatum]]]:
    """The batch of each optimizer step that a rollout serves, of whole groups."""
    batches: list[list[Unit[PolicyDatum]]] = []
    for span in split_evenly(len(data_PG), count):
        batch: list[Unit[PolicyDatum]] = []
        for p in span:
            batch += single_units(data_PG[p])
        batches.append(batch)
    return batches


def rollout_metrics(sampled: SampledGroups) -> dict[str, float]:
    """The rollout's part of its line in metrics.jsonl."""
    groups = sampled.groups
    samples = list(chain.from_iterable(group.samples for group in groups))
    rewards = list(chain.from_iterable(group.rewards for group in groups))
    parts: dict[str, float] = {}
    for name in groups[0].parts:
        parts[reward_part(name)] = fmean(chain.from_iterable(group.parts[name] for group in groups))
    return {
        REWARD: fmean(rewards),
        **parts,
        **batch_metrics(sample.outcome for sample in samples).flat(),
        "groups_equal": fraction_equal([group.rewards for group in groups]),
        "b_max_finite": fmean(not math.isinf(group.samples[0].outcome.b_max) for group in groups),
        **verification_rates([sample.verdict for sample in samples]),
        **sampled.metrics,
    }


def completion_rows(groups: Sequence[RewardedGroup], limit: int) -> list[Row]:
    """The first `limit` completions as rows of completions.jsonl, with their reward and its parts."""
    rows: list[Row] = []
    for group in groups:
        for n, sample in enumerate(group.samples):
            parts = {reward_part(name): values[n] for name, values in group.parts.items()}
            rows.append({**sample.row, REWARD: group.rewards[n], **parts})
            if len(rows) == limit:
                return rows
    return rows


def _group(group: RewardedGroup) -> Group:
    lengths = [len(sample.completion.token_ids) for sample in group.samples]
    return Group(group.rewards, group.parts, lengths, list(map(bool, verdicts(group))))


def _policy_datum(sample: Sample, advantage: float, collector: Collector) -> PolicyDatum:
    given = len(sample.prompt.prefix_ids)
    field = collector.codec.budget_field(sample.response_ids, collector.fmt, prefilled=given)
    return PolicyDatum(
        prompt_ids=sample.prompt.all_ids,
        response_ids=sample.completion.token_ids,
        logprobs=sample.completion.logprobs,
        advantage=advantage,
        budget_field=field,
        truncated=not sample.completion.finished,
    )
