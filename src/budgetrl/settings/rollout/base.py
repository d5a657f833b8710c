"""What the settings of every engine are, and what an engine can do."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require_range
from budgetrl.core.messages import Message
from budgetrl.settings.auto import Rule, may_be_auto


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. Plans, checks and callers ask for these, never for a class."""

    local: bool = False
    """It runs the model on this machine's devices, so weights have to be loaded here, and memory is planned for."""
    follows_training: bool = False
    """It can generate with the weights in training: `sync` brings it up to date after each update."""
    logprobs: bool = False
    """It gives the log-probability of each token that it draws."""
    token_ids: bool = False
    """It takes prompts and gives completions as token ids, not as text that has to be encoded again."""
    streams: bool = False
    """It hands out tokens while a completion is still growing."""
    hidden_states: bool = False
    """It gives the hidden states of the tokens that it draws."""
    interventions: bool = False
    """It lets a function change logits or hidden states while it draws."""
    fork: bool = False
    """It can go on from one point of a completion in several ways without reading the tokens before it again."""


@dataclass(frozen=True)
class RolloutSettings(ABC):
    """The `rollout` group: which engine generates completions, and how."""

    name: str = ""
    """The option under conf/rollout/, or the import path of a class of your own."""

    engine: ClassVar[str]
    """The import path of the engine's class, a `budgetrl.rollout.engine.Engine`."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the engine can do with these settings."""

    @property
    @abstractmethod
    def completions_at_once(self) -> int:
        """Completions that one rank generates at the same time."""

    def server(self, ranks: int) -> dict[str, object]:
        """What a plan says about the server of an engine that is not local."""
        return {}

    def warnings(self, temperature: float) -> list[Message]:
        """What works but looks unintended about generating at this temperature."""
        return []


@dataclass(frozen=True)
class LocalSettings(RolloutSettings):
    """Settings of an engine that runs a Hugging Face model on this rank's device."""

    batch_size: int = may_be_auto(128, Rule.ROWS)
    """Most completions decoded at once on one device."""

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "batch_size")

    @property
    def completions_at_once(self) -> int:
        return self.batch_size
