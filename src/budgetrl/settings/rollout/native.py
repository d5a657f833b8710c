"""`native`: our own batched sampler on the training weights."""

from dataclasses import dataclass
from typing import ClassVar

from budgetrl.settings.rollout.base import Capabilities, LocalSettings


@dataclass(frozen=True)
class NativeSettings(LocalSettings):
    """Our own sampler for models of the Llama family: Llama, Mistral (full attention), Qwen2, Qwen3."""

    name: str = "native"

    engine: ClassVar[str] = "budgetrl.rollout.native.NativeEngine"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(local=True, follows_training=True, logprobs=True, token_ids=True)
