"""From a configuration to a collector that is ready to be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Sampling
from budgetrl.decoding.base import DecodingMethod
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import Policy, load_codec, load_policy
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.engine import make_engine
from budgetrl.rollout.interventions import Intervention
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
    decoding = config.decoding
    sampling = Sampling(
        how.max_new_tokens,
        how.temperature,
        codec.stop_ids,
        decoding.stop_strings,
        decoding.min_tokens,
        decoding.top_k,
        decoding.top_p,
        decoding.min_p,
        decoding.repetition_penalty,
    )
    intervention = make_intervention(decoding, codec, policy)
    with make_engine(config.rollout) as engine:
        engine.open(codec, policy.model if policy else None)
        yield Collector(
            engine,
            codec,
            verifier,
            fmt,
            sampling,
            decoding,
            intervention,
            repetition_ngram=config.reward.repetition_ngram,
        )


def make_intervention(decoding: DecodingMethod, codec: TextCodec, policy: Policy | None) -> Intervention | None:
    """What a decoding method does inside the steps; None for a method that only asks."""
    if decoding.intervention is None:
        return None
    module, _, name = decoding.intervention.rpartition(".")
    return getattr(import_module(module), name)(decoding, codec, policy.model if policy else None)
