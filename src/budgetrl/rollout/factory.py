"""Build a collector from a configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
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
    """Open a collector on the engine of the `rollout` group, and close the engine at the end.

    Args:
        fmt: response format of the prompts.
        how: the stage's generation settings.
        verifier: checks the answers.
        config: the configuration of the run.
        ctx: the run's ranks, folder, and output.
        policy: generate with these weights, which may be in training. None: use the configuration's model, which is
            loaded here for a local engine. For a server, only its tokenizer is loaded.

    Raises:
        RequestError: `policy` is set, but the engine cannot follow training.
    """
    capabilities = config.rollout.capabilities
    if policy is not None and not capabilities.follows_training:
        text = f"{config.rollout.name} cannot generate with the weights being trained"
        raise RequestError(Message("rollout", text, "use rollout=native or rollout=transformers"))
    if policy is None and capabilities.local:
        policy = load_policy(config.model, fmt, ctx.world.device)
    codec = policy.codec if policy else load_codec(config.model, fmt)
    decoding = config.decoding
    sampling = Sampling(
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature,
        stop_ids=codec.stop_ids,
        stop_strings=decoding.stop_strings,
        min_tokens=decoding.min_tokens,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        min_p=decoding.min_p,
        repetition_penalty=decoding.repetition_penalty,
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
    """Create the intervention of a decoding method. None if the method has none."""
    if decoding.intervention is None:
        return None
    # The method names the class by its import path, because decoding methods must not import torch.
    module, _, name = decoding.intervention.rpartition(".")
    return getattr(import_module(module), name)(decoding, codec, policy.model if policy else None)
