"""`native`: budgetrl's own batched sampler, which uses the training weights directly."""

from dataclasses import dataclass
from typing import ClassVar

from budgetrl.settings.rollout.base import Capabilities, LocalSettings


@dataclass(frozen=True)
class NativeSettings(LocalSettings):
    """budgetrl's own sampler, for Llama-like models: Llama, Mistral (full attention), Qwen2 and Qwen3."""

    name: str = "native"

    engine: ClassVar[str] = "budgetrl.rollout.native.NativeEngine"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            local=True,
            follows_training=True,
            logprobs=True,
            token_ids=True,
            sampling_options=True,
            streams=True,
            interventions=True,
            fork=True,
        )
