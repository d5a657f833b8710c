"""`cold_start`: teach a response format on the model's own right answers."""

import math
from collections.abc import Sequence
from functools import partial
from random import Random

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Datum, Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.usable import load_problems
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import PLAIN
from budgetrl.grading.verifier import Verifier, open_verifier
from budgetrl.metrics.summary import summarize
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import Policy, load_policy
from budgetrl.rollout.collect import Sample, collect_on_all_ranks
from budgetrl.rollout.factory import open_collector
from budgetrl.rollout.seeds import asked_budgets, sampling_seeds
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row
from budgetrl.runs.health import FORMAT
from budgetrl.runs.resumable import work_through
from budgetrl.settings.config import Config
from budgetrl.settings.stages.cold_start import ColdStart
from budgetrl.training.batching import plan_micro_batches
from budgetrl.training.supervised import train_supervised
from budgetrl.training.train import Schedule


def run(stage: ColdStart, config: Config, ctx: Context) -> dict[str, float]:
    """Sample, keep, fine-tune, check; returns the share kept and, of the check, the metrics of an evaluation."""
    taught = stage.taught_format(config)
    policy = load_policy(config.model, config.model.response_format(PLAIN), ctx.world.device)
    with open_verifier(ctx) as verifier:
        rows = _sample(stage, policy, verifier, config, ctx)
        data = [_datum(row) for row in rows if row["kept"]]
        kept = {"sampled": float(len(rows)), "kept": len(data) / len(rows)}
        if not data:
            raise RequestError(f"the model answered none of {len(rows)} problems right: nothing to learn from")
        ctx.print(f"kept {len(data)} of {len(rows)} completions, all of them right and finished in time")
        steps, batch_at = _batches(stage, data, config.seed)
        schedule = Schedule(steps, stage.optimizer, stage.tokens_per_device, stage.save_every)
        checkpoint = train_supervised(policy, batch_at, taught, schedule, config, ctx)
        return kept | _check(stage, config.with_checkpoint(checkpoint), verifier, ctx)


def _sample(stage: ColdStart, policy: Policy, verifier: Verifier, config: Config, ctx: Context) -> list[Row]:
    """The model's own completions of the training problems, a row each in samples.jsonl."""
    problems = load_problems(config.dataset, "train", stage.problems, verifier, ctx)
    taught, samples = stage.taught_format(config), stage.samples_per_problem(config)

    path, at_once = ctx.folder.path / "samples.jsonl", config.rollout.completions_at_once
    # The policy is the configuration's model still, so an engine that has no access to it asks that instead.
    source = policy if config.rollout.capabilities.follows_training else None
    with open_collector(config.model.response_format(PLAIN), stage, verifier, config, ctx, source) as collector:

        def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
            groups = collector.collect(share, sampling_seeds(config, stage.name, share, samples))
            return [_rows(group, taught, policy.codec) for group in groups]

        return work_through(problems, make_rows, path, samples, at_once, "sampling the initial model", ctx)


def _batches(stage: ColdStart, data: Sequence[Datum], seed: int) -> tuple[int, partial]:
    """The number of steps, and the data of each: shuffled every epoch, like lengths together."""
    per_epoch = plan_micro_batches([datum.size for datum in data], stage.tokens_per_step)
    steps = stage.steps or math.ceil(stage.epochs * len(per_epoch))
    return steps, partial(_batch_at, data, per_epoch, seed)


def _check(stage: ColdStart, config: Config, verifier: Verifier, ctx: Context) -> dict[str, float]:
    """Format and match of the cold-started model on held-out problems."""
    if not stage.check_problems:
        return {}
    taught = stage.taught_format(config)
    policy = load_policy(config.model, taught, ctx.world.device)
    problems = load_problems(config.dataset, "eval", stage.check_problems, verifier, ctx)
    asked, seeds = asked_budgets(config, taught, "check", problems), sampling_seeds(config, "check", problems, 1)
    with open_collector(taught, stage, verifier, config, ctx, policy) as collector:
        groups = collect_on_all_ranks(collector, problems, seeds, asked, ctx.world)
    metrics = summarize([[sample.outcome for sample in group] for group in groups]).without_parts().flat()
    ctx.print(_format_kept(metrics["format"], taught))
    return metrics


def _format_kept(share: float, taught: ResponseFormat) -> str:
    told = f"{100 * share:.0f} % of the answers to held-out problems keep the {taught.name} format"
    advice = "" if share >= FORMAT else ". GRPO learns little from the others: take more problems, or more epochs"
    return told + advice


def _rows(group: Sequence[Sample], taught: ResponseFormat, codec: TextCodec) -> list[Row]:
    """A row for each completion of a problem. The format says which are kept, and what is taught around a body."""
    outcomes = [sample.outcome for sample in group]
    kept = taught.select_for_teaching(outcomes)
    prompt = codec.prompt(group[0].problem.problem, taught).all_ids
    rows = []
    for n, sample in enumerate(group):
        budget = codec.writable(sample.outcome.length)
        target = codec.target(taught.target(sample.outcome, outcomes, budget), sample.response.body_ids)
        rows.append(_row(sample, n in kept, prompt, target))
    return rows


def _row(sample: Sample, kept: bool, prompt: Sequence[int], target: Sequence[int]) -> Row:
    return {
        "problem_id": sample.problem.id,
        "kept": kept,
        "correct": sample.outcome.correct,
        "length": sample.outcome.length,
        "prompt_ids": prompt,
        "response_ids": target,
    }


def _datum(row: Row) -> Datum:
    return Datum(tuple(row["prompt_ids"]), tuple(row["response_ids"]))


def _batch_at(data: Sequence[Datum], batches: Sequence[Sequence[int]], seed: int, step: int) -> list[Datum]:
    epoch, position = divmod(step, len(batches))
    order = Random(derive_seed(seed, "cold start", epoch)).sample(range(len(batches)), len(batches))
    return [data[i] for i in batches[order[position]]]
