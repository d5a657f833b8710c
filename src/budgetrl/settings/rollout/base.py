"""Base classes for the settings of rollout engines, and the capabilities that an engine can have."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.settings.auto import Rule, may_be_auto


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. Plans, checks and callers test these flags rather than the engine's class."""

    local: bool = False
    """Runs the model on the devices of each rank, so weights are loaded there and the plan includes their memory."""
    follows_training: bool = False
    """Can generate with the weights being trained: `sync` updates the engine after each optimizer step."""
    logprobs: bool = False
    """Returns the log-probability of each sampled token."""
    token_ids: bool = False
    """Accepts prompts and returns completions as token ids rather than text, so nothing is tokenized again."""
    sampling_options: bool = False
    """Accepts stop strings, top-k, min-p, a repetition penalty and a minimum number of tokens."""
    streams: bool = False
    """Returns tokens while a completion is still being generated."""
    hidden_states: bool = False
    """Returns the hidden states of the sampled tokens."""
    interventions: bool = False
    """Accepts a function that changes logits or hidden states during sampling."""
    fork: bool = False
    """Can continue one completion in several ways without computing its earlier tokens again."""


@dataclass(frozen=True)
class RolloutSettings(ABC):
    """Which engine generates completions, and its settings."""

    name: str = ""
    """An option in conf/rollout/, or the import path of your own settings class."""

    # Only the path, because importing the engine itself would import torch.
    engine: ClassVar[str]
    """Import path of the engine's class, a `budgetrl.rollout.engine.Engine`."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the engine can do with these settings."""

    @property
    @abstractmethod
    def completions_at_once(self) -> int:
        """The number of completions that one rank generates at the same time."""

    def server(self, ranks: int) -> dict[str, object]:
        """Return the plan's entries about the server of a remote engine; empty for a local one."""
        return {}

    def warnings(self, temperature: float) -> list[Message]:
        """Return warnings about settings that work but look unintended at this sampling temperature."""
        return []


@dataclass(frozen=True)
class LocalSettings(RolloutSettings):
    """Settings of an engine that runs a Hugging Face model on each rank's own device."""

    batch_size: int = may_be_auto(128, Rule.ROWS)
    """Maximum number of completions decoded at the same time on one device."""

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "batch_size")

    @property
    def completions_at_once(self) -> int:
        return self.batch_size
