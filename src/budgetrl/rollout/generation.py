"""What the stages that write completions share: a collector, and resumable work over problems."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import Policy, load_codec, load_policy, resolve_path
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.rollout.engine import RolloutEngine, Sampling
from budgetrl.rollout.factory import make_engine
from budgetrl.rollout.openai_engine import OpenAIEngine
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, read_rows, write_lines
from budgetrl.runs.world import World
from budgetrl.settings.config import Config
from budgetrl.settings.rollout import OpenAISettings
from budgetrl.settings.stages.base import Generates

PROMPTS_PER_CHUNK = 4
"""Work is saved every so many full batches of the rollout engine."""


def collector_for(policy: Policy, fmt: ResponseFormat, how: Generates, verifier: Verifier, config: Config) -> Collector:
    """A collector that writes with a policy on this rank, as the stage and the `rollout` group say."""
    if isinstance(config.rollout, OpenAISettings):
        raise RequestError("rollout: openai writes with the model on the server, not with this one; use rollout=native")
    return _collector(make_engine(config.rollout, policy.model), policy.codec, fmt, how, verifier, config)


def load_collector(fmt: ResponseFormat, how: Generates, verifier: Verifier, config: Config, ctx: Context) -> Collector:
    """A collector that writes with the config's model: loaded here, or on a server, for which the tokenizer will do."""
    if isinstance(config.rollout, OpenAISettings):
        return server_collector(config.rollout, fmt, how, verifier, config)
    return collector_for(load_policy(config.model, fmt, ctx.world.device), fmt, how, verifier, config)


def server_collector(
    server: OpenAISettings, fmt: ResponseFormat, how: Generates, verifier: Verifier, config: Config
) -> Collector:
    """A collector that lets a server write."""
    codec = load_codec(config.model, fmt)
    engine = OpenAIEngine(server, server.model or resolve_path(config.model, fmt), codec)
    return _collector(engine, codec, fmt, how, verifier, config)


def _collector(
    engine: RolloutEngine, codec: TextCodec, fmt: ResponseFormat, how: Generates, verifier: Verifier, config: Config
) -> Collector:
    sampling = Sampling(how.max_new_tokens, how.temperature, codec.stop_ids)
    return Collector(engine, codec, verifier, fmt, sampling, repetition_ngram=config.reward.repetition_ngram)


def asked_budgets(config: Config, fmt: ResponseFormat, use: str, problems: Sequence[Problem]) -> list[int | None]:
    """What the prompts ask for in a format with the budget in the prompt, drawn as the reward says; else None."""
    if fmt.budget_in != "prompt":
        return [None] * len(problems)
    return [config.reward.asked_budget(derive_seed(config.seed, "asked", use, p.id)) for p in problems]


def seeds_for(config: Config, use: str, problems: Sequence[Problem], samples: int) -> list[list[int]]:
    """[P][n] sampling seeds that depend on the run seed, the use, the problem and the sample alone."""
    return [[derive_seed(config.seed, use, p.id, n) for n in range(samples)] for p in problems]


def collect_on_all_ranks(
    collector: Collector,
    problems: Sequence[Problem],
    seeds: Sequence[Sequence[int]],
    asked: Sequence[int | None],
    world: World,
) -> list[list[Sample]]:
    """What `collector.collect` gives for all problems, on every rank, while each rank writes its share."""
    return world.merge(collector.collect(world.share(problems), world.share(seeds), world.share(asked)))


def work_through(
    problems: Sequence[Problem],
    work: Callable[[Sequence[Problem]], list[list[Row]]],
    path: Path,
    rows_per_problem: int,
    description: str,
    config: Config,
    ctx: Context,
) -> list[Row]:
    """Rows of all problems, `rows_per_problem` each, written to a JSONL file as they are made.

    `work` maps this rank's problems to their rows, which hold `problem_id`. What an earlier process
    left in the file is kept, so a killed run goes on where it was.
    """
    ctx.world.barrier()
    found = read_rows(path) if path.exists() else []
    counts = Counter(row["problem_id"] for row in found)
    rows = [row for row in found if counts[row["problem_id"]] == rows_per_problem]
    if ctx.world.leads and len(rows) < len(found):
        write_lines(path, rows)
    left = [p for p in problems if counts[p.id] != rows_per_problem]
    size = max(1, PROMPTS_PER_CHUNK * config.rollout.batch_size * ctx.world.size // rows_per_problem)
    with ctx.progress.track(len(problems), description, len(problems) - len(left)) as bar:
        for start in range(0, len(left), size):
            ctx.check_stop()
            chunk = left[start : start + size]
            new = [row for group in ctx.world.merge(work(ctx.world.share(chunk))) for row in group]
            ctx.folder.append(path, new)
            rows += new
            bar.update(len(chunk))
    order = {p.id: i for i, p in enumerate(problems)}
    return sorted(rows, key=lambda row: order[row["problem_id"]])
