"""The training that `pretrain` and `cold_start` share: next-token loss on given responses."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from budgetrl.formats.base import ResponseFormat
from budgetrl.policy.card import model_card
from budgetrl.policy.loading import Policy
from budgetrl.policy.module import PolicyModule
from budgetrl.runs.context import Context
from budgetrl.runs.world import World
from budgetrl.settings.config import Config
from budgetrl.settings.optimizer import Optimizer, learning_rate
from budgetrl.training.batching import Batch, collate, plan_ranks
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.loop import Loop


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the response to learn."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    """Loss weight of each response token; None: 1 for all."""

    @property
    def size(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)

    @property
    def token_weights(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * len(self.response_ids)


@dataclass(frozen=True)
class Fit:
    """How long and how fast to train."""

    steps: int
    optimizer: Optimizer
    tokens_per_device: int
    save_every: int
    fmt: ResponseFormat
    """The format that is learned, in which the checkpoint is to be asked."""


def fit(
    policy: Policy, examples_at: Callable[[int], Sequence[Example]], how: Fit, config: Config, ctx: Context
) -> Path:
    """Train on `examples_at(step)`, the same on every rank, for each step; returns `checkpoints/last`.

    Resumes from the newest state there is. The policy passed in is used up: under ZeRO-3 its weights
    are gone afterwards.
    """
    engine = ZeroEngine(PolicyModule(policy.model), config.zero, how.optimizer, ctx.world)
    saved = Checkpoints(ctx.folder.checkpoints, ctx.world)
    loop = Loop(ctx, engine, saved, how.steps, how.save_every)
    first = loop.resume()
    with ctx.progress.track(how.steps, "training", first) as bar:
        for step in range(first, how.steps):
            started = time.perf_counter()
            lr = learning_rate(step, how.steps, how.optimizer)
            examples = examples_at(step)
            loss, norm = supervised_step(engine, examples, how.tokens_per_device, lr, ctx.world)
            speed = sum(e.size for e in examples) / (time.perf_counter() - started)
            metrics = {"loss": loss, "lr": lr, "grad_norm": norm, "time/tokens_per_second": speed}
            loop.finish_step(step + 1, metrics)
            bar.update(1, **metrics)
    card = model_card(config.model, how.fmt, config.dataset.name, config.seed, ctx.folder.path.name)
    last = saved.save_policy("last", policy, engine, how.fmt, card)
    engine.close()
    return last


def supervised_step(
    engine: ZeroEngine, examples: Sequence[Example], tokens_per_device: int, lr: float, world: World
) -> tuple[float, float]:
    """One optimizer step on the weighted mean loss per response token; returns loss and gradient norm."""
    plan = plan_ranks([e.size for e in examples], tokens_per_device, world.size)[world.rank]
    total = sum(len(e.response_ids) for e in examples)
    weighted = [_weighted([examples[i] for i in part], total) for part in plan]

    def loss_share(micro_batch: tuple[Batch, Tensor]) -> Tensor:
        batch, weights = micro_batch
        logprobs, _ = engine(batch)
        return -(logprobs * weights.to(logprobs.device)).sum()

    return engine.step(weighted, loss_share, lr)


def _weighted(examples: Sequence[Example], total: int) -> tuple[Batch, Tensor]:
    """A micro-batch, and the weight of each of its response tokens [N] in a loss over `total` tokens."""
    batch = collate((e.prompt_ids, e.response_ids) for e in examples)
    return batch, torch.tensor([w for e in examples for w in e.token_weights]) / total
