"""Turn the rewarded completions of a GRPO rollout into advantages, training data, metrics and rows to log."""

import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from budgetrl.core.records import Outcome
from budgetrl.grading.rows import verification_rates
from budgetrl.grading.verifier import Verdict
from budgetrl.metrics.keys import REWARD, reward_part
from budgetrl.metrics.summary import batch_metrics
from budgetrl.rollout.collect import Collector
from budgetrl.runs.folder import Row
from budgetrl.settings.algorithm import AdvantageSettings
from budgetrl.training.advantages import Group, fraction_equal, group_advantages
from budgetrl.training.batching import split_evenly
from budgetrl.training.policy_gradient import PolicyDatum
from budgetrl.training.sampling import RewardedGroup, SampledGroups, correctness
from budgetrl.training.step import Unit, single_units


def rollout_advantages(sampled: SampledGroups, settings: AdvantageSettings) -> list[list[float]]:
    """Return the advantages [P][G]. They are 0 in filler groups, which also count in no mean or std of the batch."""
    informative, fillers = sampled.groups[: sampled.informative], sampled.groups[sampled.informative :]
    advantages_PG = group_advantages([_group(group) for group in informative], settings)
    for group in fillers:
        advantages_PG.append([0.0] * len(group.samples))
    return advantages_PG


def policy_data(group: RewardedGroup, advantages: Sequence[float], collector: Collector) -> list[PolicyDatum]:
    """Return the training data of one prompt's completions."""
    data: list[PolicyDatum] = []
    for sample, advantage in zip(group.samples, advantages, strict=True):
        completion = sample.completion
        prefilled = len(sample.prompt.prefix_ids)
        # Empty if the budget was pre-filled: the policy did not choose it, so it earns no entropy bonus.
        field = collector.codec.budget_field(sample.response_ids, collector.fmt, prefilled)
        forced_before = sum(position < field.start for position in completion.forced)
        datum = PolicyDatum(
            prompt_ids=sample.prompt.all_ids,
            response_ids=completion.token_ids,
            forced=completion.forced,
            logprobs=completion.sampled_logprobs,
            advantage=advantage,
            budget_field=range(field.start - forced_before, field.stop - forced_before),
            truncated=not completion.finished,
        )
        data.append(datum)
    return data


def split_minibatches(data_PG: Sequence[Sequence[PolicyDatum]], count: int) -> list[list[Unit[PolicyDatum]]]:
    """Split a rollout into the batches of `count` optimizer steps. Groups stay whole."""
    batches: list[list[Unit[PolicyDatum]]] = []
    for span in split_evenly(len(data_PG), count):
        batch: list[Unit[PolicyDatum]] = []
        for p in span:
            batch += single_units(data_PG[p])
        batches.append(batch)
    return batches


def rollout_metrics(sampled: SampledGroups) -> dict[str, float]:
    """Return the metrics of a rollout, logged with each of its optimizer steps."""
    groups = sampled.groups
    outcomes: list[Outcome] = []
    verdicts: list[Verdict] = []
    rewards_PG: list[Sequence[float]] = []
    b_max_finite: list[bool] = []
    for group in groups:
        for sample in group.samples:
            outcomes.append(sample.outcome)
            verdicts.append(sample.verdict)
        rewards_PG.append(group.rewards)
        # All completions of a group have the b_max of their problem: inf if the initial model did not solve it.
        b_max_finite.append(not math.isinf(group.samples[0].outcome.b_max))
    parts: dict[str, float] = {}
    for name in groups[0].parts:
        values_PG = [group.parts[name] for group in groups]
        parts[reward_part(name)] = fmean(chain.from_iterable(values_PG))
    return {
        REWARD: fmean(chain.from_iterable(rewards_PG)),
        **parts,
        **batch_metrics(outcomes).flat(),
        "groups_equal": fraction_equal(rewards_PG),
        "b_max_finite": fmean(b_max_finite),
        **verification_rates(verdicts),
        **sampled.metrics,
    }


def completion_rows(groups: Sequence[RewardedGroup], limit: int) -> list[Row]:
    """Return the first `limit` completions as rows of completions.jsonl, with their reward and its parts."""
    rows: list[Row] = []
    for group in groups:
        for n, sample in enumerate(group.samples):
            row = {**sample.row, REWARD: group.rewards[n]}
            for name, values in group.parts.items():
                row[reward_part(name)] = values[n]
            rows.append(row)
            if len(rows) == limit:
                return rows
    return rows


def _group(group: RewardedGroup) -> Group:
    """Return what `group_advantages` needs of a group."""
    lengths = [len(sample.completion.token_ids) for sample in group.samples]
    correct = list(map(bool, correctness(group)))
    well_formed = [sample.outcome.well_formed for sample in group.samples]
    return Group(group.rewards, group.parts, lengths, correct, well_formed)
