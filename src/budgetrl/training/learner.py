"""A policy in training: its weights inside the engine, and how they are saved."""

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
    """A policy in training.

    The engine takes over the weights of the policy that was passed in: do not use it elsewhere. Under ZeRO 3 it holds
    only this rank's shard of them.
    """

    policy: Policy
    engine: ZeroEngine
    checkpoints: Checkpoints
    fmt: ResponseFormat
    """The response format that saved checkpoints are prompted in."""
    card: str
    """The model card of saved checkpoints."""

    @staticmethod
    def of(
        policy: Policy,
        fmt: ResponseFormat,
        optimizer: Optimizer,
        config: Config,
        ctx: Context,
        temperature: float = 1.0,
    ) -> "Learner":
        """Wrap a policy in an engine. Log-probabilities are those at the given sampling temperature."""
        engine = ZeroEngine(PolicyModule(policy.model, temperature), config.zero, optimizer, ctx.world)
        card = model_card(config.model, fmt, config.dataset.name, config.seed, ctx.folder.path.name)
        return Learner(policy, engine, Checkpoints(ctx.folder.checkpoints, ctx.world), fmt, card)

    def save(self, name: str) -> Path:
        """Write the current weights to `checkpoints/<name>`. Call on every rank."""
        return self.checkpoints.save_policy(name, self.policy, self.engine, self.fmt, self.card)
