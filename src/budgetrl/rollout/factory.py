"""From a configuration to a collector that is ready to be asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Sampling
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.policy.loading import Policy, load_codec, load_policy
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.engine import make_engine
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.stages.base import Generates


@contextmanager
def open_collector(
    fmt: ResponseFormat, how: Generates, verifier: Verifier, config: Config, ctx: Context, policy: Policy | None = None
) -> Iterator[Collector]:
    """A collector on the engine that the `rollout` group names, which is closed at the end.

    With `policy`, completions come from these weights, which may be in training. Without, they come from the
    configuration's model: loaded here for a local engine, or behind a server, for which the tokenizer will do.
    """
    capabilities = config.rollout.capabilities
    if policy is not None and not capabilities.follows_training:
        text = f"{config.rollout.name} cannot generate with the weights that are trained here"
        raise RequestError(f"rollout: {text}; use rollout=native or rollout=transformers")
    if policy is None and capabilities.local:
        policy = load_policy(config.model, fmt, ctx.world.device)
    codec = policy.codec if policy else load_codec(config.model, fmt)
    sampling = Sampling(how.max_new_tokens, how.temperature, codec.stop_ids)
    with make_engine(config.rollout) as engine:
        engine.open(codec, policy.model if policy else None)
        yield Collector(engine, codec, verifier, fmt, sampling, repetition_ngram=config.reward.repetition_ngram)
