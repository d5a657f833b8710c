"""`cold_start`: fine-tune a model on its own correct answers, rewritten in a response format, to teach that format."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from random import Random

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Datum, Outcome, Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.usable import load_problems
from budgetrl.formats.base import ResponseFormat, Target
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
    """Sample answers, select the good ones, fine-tune on them, and check the result on held-out problems.

    Returns:
        The number of samples, the fraction kept, and the evaluation metrics of the check.

    Raises:
        RequestError: no answer was correct, so there is nothing to train on.
    """
    taught = stage.taught_format(config)
    # The initial model does not know the taught format, so it is prompted plainly.
    policy = load_policy(config.model, config.model.response_format(PLAIN), ctx.world.device)
    check_writable(taught, policy.codec, stage.max_new_tokens)
    with open_verifier(ctx) as verifier:
        rows = _sample(stage, policy, verifier, config, ctx)
        data: list[Datum] = []
        for row in rows:
            if row["kept"]:
                data.append(Datum(tuple(row["prompt_ids"]), tuple(row["response_ids"])))
        kept = {"sampled": float(len(rows)), "kept": len(data) / len(rows)}
        if not data:
            text = f"the model gave no correct answer in {len(rows)} samples, so there is nothing to train on"
            raise RequestError(f"{text}; use more or easier problems, or a stronger model")
        ctx.print(f"kept {len(data)} of {len(rows)} completions: correct and not truncated")

        steps, batch_at = _batches(stage, data, config.seed)
        schedule = Schedule(steps, stage.optimizer, stage.tokens_per_device, stage.save_every)
        checkpoint = train_supervised(policy, batch_at, taught, schedule, config, ctx)
        return kept | _check(stage, config.with_checkpoint(checkpoint), verifier, ctx)


def _sample(stage: ColdStart, policy: Policy, verifier: Verifier, config: Config, ctx: Context) -> list[Row]:
    """Sample completions of the training problems; return one row each, also written to samples.jsonl."""
    problems = load_problems(config.dataset, "train", stage.problems, verifier, ctx)
    taught = stage.taught_format(config)
    samples = stage.samples_per_problem(config)
    path = ctx.folder.path / "samples.jsonl"
    at_once = config.rollout.completions_at_once
    # The policy still has its initial weights. An engine that cannot use them directly, such as a server, loads the
    # same model itself.
    source = policy if config.rollout.capabilities.follows_training else None
    with open_collector(config.model.response_format(PLAIN), stage, verifier, config, ctx, source) as collector:

        def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
            seeds = sampling_seeds(config, stage.name, share, samples)
            groups = collector.collect(share, seeds)
            return [_rows(group, taught, policy.codec) for group in groups]

        return work_through(problems, make_rows, path, samples, at_once, "sampling the initial model", ctx)


def _batches(stage: ColdStart, data: Sequence[Datum], seed: int) -> tuple[int, partial]:
    """Return the number of steps, and a function from a step to its data.

    An epoch is a list of batches of similar sequence lengths, in an order shuffled again for each epoch.
    """
    per_epoch = plan_micro_batches([datum.size for datum in data], stage.tokens_per_step)
    steps = stage.steps or math.ceil(stage.epochs * len(per_epoch))
    return steps, partial(_batch_at, data, per_epoch, seed)


def _check(stage: ColdStart, config: Config, verifier: Verifier, ctx: Context) -> dict[str, float]:
    """Evaluate the fine-tuned model on held-out problems. Returns {} if `check_problems` is 0."""
    if not stage.check_problems:
        return {}
    taught = stage.taught_format(config)
    policy = load_policy(config.model, taught, ctx.world.device)
    problems = load_problems(config.dataset, "eval", stage.check_problems, verifier, ctx)
    asked = asked_budgets(config, taught, "check", problems)
    seeds = sampling_seeds(config, "check", problems, 1)
    with open_collector(taught, stage, verifier, config, ctx, policy) as collector:
        groups = collect_on_all_ranks(collector, problems, seeds, asked, ctx.world)
    outcomes: list[list[Outcome]] = []
    for group in groups:
        outcomes.append([sample.outcome for sample in group])
    metrics = summarize(outcomes).without_parts().flat()
    ctx.print(_format_message(metrics["format"], taught))
    return metrics


def _format_message(fraction: float, taught: ResponseFormat) -> str:
    """Return a log line about how many answers follow the taught format."""
    text = f"{100 * fraction:.0f} % of the answers to held-out problems follow the {taught.name} format"
    if fraction >= FORMAT:
        return text
    return f"{text}. GRPO learns little from the others: use more problems or more epochs"


def _rows(group: Sequence[Sample], taught: ResponseFormat, codec: TextCodec) -> list[Row]:
    """Return a row for each completion of a problem.

    The taught format selects the completions to train on, and decides what the target has around the solution body.
    """
    outcomes = [sample.outcome for sample in group]
    kept = taught.select_for_teaching(outcomes)
    prompt = codec.prompt(group[0].problem.problem, taught).all_ids
    rows = []
    for n, sample in enumerate(group):
        budget = codec.writable(sample.outcome.length)
        target = taught.checked_target(sample.outcome, outcomes, budget)
        _check_texts(target, taught, codec)
        # The body keeps its token ids: text that is encoded again may be split into other tokens.
        row: Row = {
            "problem_id": sample.problem.id,
            "kept": n in kept,
            "correct": sample.outcome.correct,
            "length": sample.outcome.length,
            "prompt_ids": prompt,
            "response_ids": codec.target(target, sample.response.body_ids),
        }
        rows.append(row)
    return rows


def check_writable(taught: ResponseFormat, codec: TextCodec, longest: int) -> None:
    """Raise RequestError for a format that the tokenizer cannot write, before anything is sampled.

    What a format teaches depends on outcomes, which are not there yet, so it is asked about made-up ones: short and
    long answers, to easy and to hard problems.
    """
    for length in {1, 16, 128, longest}:
        right = Outcome(True, True, length, thinking_length=length // 2, given_answer="1")
        others = taught.samples_to_teach - 1
        wrong = replace(right, correct=False)
        for group in ([right] * (1 + others), [right] + [wrong] * others):
            _check_texts(taught.checked_target(right, group, codec.writable(length)), taught, codec)


def _check_texts(target: Target, taught: ResponseFormat, codec: TextCodec) -> None:
    """Raise RequestError if a text around a body would be learned as another one, such as `<pad>` for an unknown word.

    Whitespace does not count: tokenizers of words write it between any two of them.
    """
    for text in target.before + target.after:
        written = codec.written(text)
        if "".join(written.split()) != "".join(text.split()):
            problem = f"the tokenizer of {codec.settings.path} cannot write {text!r}, which becomes {written!r}"
            raise RequestError(Message(_key_of(text, taught), problem, "use words that it has"))


def _key_of(text: str, fmt: ResponseFormat) -> str:
    """Return the key that sets this text, such as `model.formats.difficulty.easy_tag`, or else `stage.format`."""
    for field in fields(fmt):
        if getattr(fmt, field.name) == text:
            return f"model.formats.{fmt.name}.{field.name}"
    return "stage.format"


def _batch_at(data: Sequence[Datum], batches: Sequence[Sequence[int]], seed: int, step: int) -> list[Datum]:
    """Return the data of a step. A function of the step alone, so a resumed run sees the same batches."""
    epoch, position = divmod(step, len(batches))
    order = Random(derive_seed(seed, "cold start", epoch)).sample(range(len(batches)), len(batches))
    return [data[i] for i in batches[order[position]]]
