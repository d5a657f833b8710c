"""`transformers`: the `generate` method of Hugging Face transformers."""

from dataclasses import dataclass
from typing import ClassVar

from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.rollout.base import Capabilities, LocalSettings


@dataclass(frozen=True)
class TransformersSettings(LocalSettings):
    """The `generate` method of transformers. Slower than `native`, but works with any causal language model."""

    name: str = "transformers"
    batch_size: int = may_be_auto(64, Rule.ROWS)
    """Maximum number of completions decoded at the same time on one device. A batch takes as long as its longest
    completion."""

    engine: ClassVar[str] = "budgetrl.rollout.transformers_engine.TransformersEngine"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            local=True, follows_training=True, logprobs=True, token_ids=True, sampling_options=True, interventions=True
        )
