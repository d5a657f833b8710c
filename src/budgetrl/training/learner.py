"""A policy in training: its weights in the engine, and how it is kept."""

from dataclasses import dataclass
from pathlib import Path

from budgetrl.formats.base import ResponseFormat
from budgetrl.policy.card import model_card
from budgetrl.policy.loading import Policy
from budgetrl.policy.module import PolicyModule
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.optimizer import Optimizer
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.engine import ZeroEngine


@dataclass(frozen=True)
class Learner:
    """The policy that was passed in is used up: under ZeRO-3 its weights are gone afterwards."""

    policy: Policy
    engine: ZeroEngine
    checkpoints: Checkpoints
    fmt: ResponseFormat
    """The format that checkpoints are to be asked in."""
    card: str
    """Their model card."""

    @staticmethod
    def of(
        policy: Policy,
        fmt: ResponseFormat,
        optimizer: Optimizer,
        config: Config,
        ctx: Context,
        temperature: float = 1.0,
    ) -> "Learner":
        """Put a policy into an engine, to be trained as it is at a sampling temperature."""
        engine = ZeroEngine(PolicyModule(policy.model, temperature), config.zero, optimizer, ctx.world)
        card = model_card(config.model, fmt, config.dataset.name, config.seed, ctx.folder.path.name)
        return Learner(policy, engine, Checkpoints(ctx.folder.checkpoints, ctx.world), fmt, card)

    def save(self, name: str) -> Path:
        """Write the weights as they are now to `checkpoints/<name>`. Call on every rank."""
        return self.checkpoints.save_policy(name, self.policy, self.engine, self.fmt, self.card)
