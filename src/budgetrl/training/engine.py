"""Optimizer steps over micro-batches, on DeepSpeed ZeRO stages 0 to 3.

A step over micro-batches of any size and number gives the same result as plain PyTorch on the global batch. Four
things make it so:

1. DeepSpeed is configured for one micro-batch per step, so it does no scaling of its own for gradient accumulation.
2. `ZeroEngine.step` sets the accumulation boundary by hand, at the last micro-batch.
3. Each loss is a share of the global loss, so gradients are summed, never averaged over micro-batches.
4. The loss is multiplied by the number of ranks, because DeepSpeed averages gradients over ranks.

Every rank must run the same number of micro-batches, because forward and backward passes communicate.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

from budgetrl.policy.module import PolicyModule
from budgetrl.runs.world import World
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.zero import ZeroSettings
from budgetrl.training.batching import Batch
from budgetrl.training.deepspeed_config import deepspeed_config

T = TypeVar("T")


class ZeroEngine:
    """A policy wrapped in a DeepSpeed engine with an AdamW optimizer."""

    def __init__(self, module: PolicyModule, zero: ZeroSettings, optimizer: Optimizer, world: World) -> None:
        self.module, self.world = module, world
        module.train()
        bf16 = next(module.parameters()).dtype == torch.bfloat16
        config = deepspeed_config(zero, bf16, optimizer.gradient_clipping)
        import deepspeed  # here, because the import takes seconds and code that only reads configs needs no DeepSpeed

        self._shards_weights = zero.stage == 3
        # A context manager inside which the given parameters are complete. Does nothing below stage 3.
        self._gathered = partial(deepspeed.zero.GatheredParameters, enabled=self._shards_weights)
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(model=module, optimizer=_adamw(module, optimizer), config=config)

    def __call__(self, batch: Batch, entropy_at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run a forward pass. Call on every rank.

        Args:
            batch: the micro-batch, with N completion tokens.
            entropy_at: which of the N tokens to compute entropies for [K]; None: for none.

        Returns:
            Log-probabilities of the completion tokens [N] and the entropies [K], in nats.
        """
        batch = batch.to(self.world.device)
        if entropy_at is None:
            entropy_at = torch.empty(0, dtype=torch.long)
        entropy_at = entropy_at.to(self.world.device)
        # The output layer runs in chunks to bound the memory of the logits. Under ZeRO 3 each run gathers the layer's
        # weights, which is collective, so all ranks must use the same number of chunks.
        chunks = self.module.chunks(len(batch.rows))
        if self._shards_weights:
            chunks = max(self.world.gather(chunks))
        return self._engine(batch.input_ids, batch.rows, batch.columns, entropy_at, chunks)

    def step(self, micro_batches: Sequence[T], loss_share: Callable[[T], Tensor], lr: float) -> tuple[float, float]:
        """Take one optimizer step. Call on every rank.

        Args:
            micro_batches: this rank's micro-batches, of any type. Every rank needs the same number, at least one.
            loss_share: maps a micro-batch to its share of the global loss. The shares of all micro-batches on all
                ranks sum to that loss.
            lr: learning rate of this step.

        Returns:
            The global loss, and the gradient norm before clipping.
        """
        # Read the groups again at each step: `load_state` replaces the list.
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        total = 0.0
        for i, micro_batch in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            self._engine.set_gradient_accumulation_boundary(last)
            share = loss_share(micro_batch)
            total += share.item()
            self._engine.backward(share * self.world.size, scale_wrt_gas=False)
            # Before `step`, which clears the gradients.
            norm = self._gradient_norm() if last else 0.0
            # Call `step` for every micro-batch: DeepSpeed updates the weights only at the boundary.
            self._engine.step()
        # Where ZeRO shards gradients, only DeepSpeed knows the global norm. At stage 0 it may report None; then every
        # rank holds the full, averaged gradients, and the norm computed above is the global one.
        reported = self._engine.get_global_grad_norm()
        return sum(self.world.gather(total)), norm if reported is None else float(reported)

    @contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Hold the full weights on every rank while inside, as generation needs. ZeRO 3 gathers them."""
        with self._gathered(list(self.module.parameters())):
            yield

    def weights(self) -> dict[str, Tensor]:
        """Return all weights of the wrapped model, on the CPU of the main rank; empty elsewhere. Call on every rank."""
        weights: dict[str, Tensor] = {}
        # One parameter at a time, so that ZeRO 3 never gathers the whole model on a device.
        for name, parameter in self.module.model.named_parameters():
            with self._gathered([parameter]):
                if self.world.is_main:
                    # On a CPU run `.cpu()` copies nothing, so clone: the gathered tensor is freed on exit.
                    weights[name] = parameter.detach().cpu().clone()
        return weights

    def save_state(self, folder: Path) -> None:
        """Write weights and optimizer state to `folder`. Call on every rank."""
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False)

    def load_state(self, folder: Path) -> None:
        """Restore what `save_state` wrote. Call on every rank.

        Raises:
            FileNotFoundError: no state was saved there by this number of ranks at this ZeRO stage.
        """
        # DeepSpeed does not raise if it finds nothing: it returns None as the path.
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=_TAG)
        if loaded is None:
            raise FileNotFoundError(f"no training state for {self.world.size} rank(s) in {folder}")

    def close(self) -> None:
        """Release what DeepSpeed holds, so that this process can create another engine."""
        self._engine.destroy()

    def _gradient_norm(self) -> float:
        """Return the norm of the gradients on this rank: the global norm at ZeRO stage 0, meaningless above."""
        norms = [p.grad.norm() for p in self.module.parameters() if p.grad is not None]
        return torch.stack(norms).norm().item() if norms else 0.0


_TAG = "engine"
"""Name of the subfolder in which DeepSpeed puts a state."""


def _adamw(module: PolicyModule, optimizer: Optimizer) -> torch.optim.AdamW:
    """Return AdamW, with weight decay only on matrices: not on biases and the scales of norms, as is usual."""
    matrices: list[Parameter] = []
    vectors: list[Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": optimizer.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)
