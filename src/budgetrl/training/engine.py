"""One optimizer step over micro-batches, on DeepSpeed ZeRO 0 to 3.

The recipe that makes a step over micro-batches of any size and number equal to plain PyTorch:
DeepSpeed is told of one micro-batch per step, the accumulation boundary is set by hand, and each
loss is a share of the global batch loss, multiplied by the number of ranks because DeepSpeed
averages gradients over them. Every rank must run the same number of micro-batches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from budgetrl.policy.module import PolicyModule
from budgetrl.runs.world import World
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.zero import ZeroSettings
from budgetrl.training.batching import Batch
from budgetrl.training.deepspeed_config import deepspeed_config

T = TypeVar("T")


class ZeroEngine:
    """A policy in training."""

    def __init__(self, module: PolicyModule, zero: ZeroSettings, optimizer: Optimizer, world: World) -> None:
        self.module, self.world = module, world
        module.train()
        bf16 = next(module.parameters()).dtype == torch.bfloat16
        config = deepspeed_config(zero, bf16, optimizer.gradient_clipping)
        import deepspeed  # takes seconds, which the parent that only reads configurations should not wait for

        self._cuts_weights = zero.stage == 3
        self._whole = partial(deepspeed.zero.GatheredParameters, enabled=self._cuts_weights)
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(model=module, optimizer=_adamw(module, optimizer), config=config)

    def __call__(self, batch: Batch, entropy_at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities [N] of a micro-batch's completion tokens, and entropies [K] at some of them."""
        batch = batch.to(self.world.device)
        at = torch.empty(0, dtype=torch.long) if entropy_at is None else entropy_at
        chunks = self.module.chunks(len(batch.rows))
        if self._cuts_weights:  # each run of the output layer gathers it, so ranks must run it equally often
            chunks = max(self.world.gather(chunks))
        return self._engine(batch.input_ids, batch.rows, batch.columns, at.to(self.world.device), chunks)

    def step(self, micro_batches: Sequence[T], loss_share: Callable[[T], Tensor], lr: float) -> tuple[float, float]:
        """One optimizer step at learning rate `lr`: the global loss and the gradient norm before clipping.

        `loss_share` maps a micro-batch, of whatever type, to its share of the loss of the global batch: the shares of
        all micro-batches on all ranks sum to that loss.
        """
        for group in self._engine.optimizer.param_groups:  # a new list after load_state
            group["lr"] = lr
        total = 0.0
        for i, micro_batch in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            self._engine.set_gradient_accumulation_boundary(last)
            share = loss_share(micro_batch)
            total += share.item()
            self._engine.backward(share * self.world.size, scale_wrt_gas=False)
            norm = self._gradient_norm() if last else 0.0
            self._engine.step()
        reported = self._engine.get_global_grad_norm()
        return sum(self.world.gather(total)), norm if reported is None else float(reported)

    @contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Within, every rank holds all weights (ZeRO-3 gathers them): to write completions."""
        with self._whole(list(self.module.parameters())):
            yield

    def weights(self) -> dict[str, Tensor]:
        """All weights of the wrapped model on the CPU of the leading rank; empty elsewhere. Call on every rank."""
        whole: dict[str, Tensor] = {}
        for name, parameter in self.module.model.named_parameters():
            with self._whole([parameter]):
                if self.world.is_main:
                    whole[name] = parameter.detach().cpu().clone()
        return whole

    def save_state(self, folder: Path) -> None:
        """Everything needed to go on as if nothing had happened. Call on every rank."""
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)

    def load_state(self, folder: Path) -> None:
        """Raises FileNotFoundError where no state was saved by as many ranks at the same ZeRO stage."""
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=_TAG)
        if loaded is None:
            raise FileNotFoundError(f"no training state for {self.world.size} rank(s) in {folder}")

    def close(self) -> None:
        """Give back what DeepSpeed holds, so that another engine can follow in this process."""
        self._engine.destroy()

    def _gradient_norm(self) -> float:
        """ZeRO-0 reports no norm: its gradients are whole on every rank and already averaged."""
        norms = [p.grad.norm() for p in self.module.parameters() if p.grad is not None]
        return torch.stack(norms).norm().item() if norms else 0.0


_TAG = "engine"


def _adamw(module: PolicyModule, optimizer: Optimizer) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices alone."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)
