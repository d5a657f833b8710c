"""`transformers`: the library's own `generate`."""

from dataclasses import dataclass
from typing import ClassVar

from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.rollout.base import Capabilities, LocalSettings


@dataclass(frozen=True)
class TransformersSettings(LocalSettings):
    """transformers' own `generate`: slower than `native`, for any causal model."""

    name: str = "transformers"
    batch_size: int = may_be_auto(64, Rule.ROWS)
    """Most completions decoded at once on one device; a batch takes as long as its longest completion."""

    engine: ClassVar[str] = "budgetrl.rollout.transformers_engine.TransformersEngine"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(local=True, follows_training=True, logprobs=True, token_ids=True)
