"""The optimizer settings and the learning rate schedule of every stage that trains."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.schedules import SCHEDULES, anneal


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warmup, a learning rate schedule and gradient clipping."""

    lr: float = 3e-4
    """Peak learning rate, reached at the end of the warmup."""
    warmup_steps: int = 5
    """Steps of linear warmup. The first step already has a learning rate above 0."""
    schedule: str = "constant"
    """Learning rate after the warmup: constant, linear or cosine."""
    final_fraction: float = 0.0
    """Final learning rate of a linear or cosine schedule, as a fraction of `lr`."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates for the first and second moments."""
    weight_decay: float = 0.0
    """AdamW weight decay, multiplied by the learning rate."""
    gradient_clipping: float = 1.0
    """Maximum gradient norm; 0: no clipping."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "lr", "warmup_steps", "weight_decay", "gradient_clipping")
        require(self.lr > 0, "lr", f"{self.lr} would train nothing")
        require_range(self, 0, 1, "final_fraction")
        require_option(self, SCHEDULES, "schedule")
        valid_betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(valid_betas, "betas", f"must be two numbers of at least 0 and below 1, got {self.betas}")


def learning_rate(step: int, total: int, optimizer: Optimizer) -> float:
    """Return the learning rate of optimizer step `step` (counted from 0) out of `total`.

    The last warmup step and the step after it both have the full rate `lr`. The schedule would reach its final value
    one step after the last, so that no step is wasted at a rate of 0.

    >>> adam = Optimizer(lr=1.0, warmup_steps=2, schedule="linear")
    >>> [learning_rate(step, 6, adam) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if not 0 <= step < total:
        raise ValueError(f"step must be from 0 to {total - 1}, got {step}")
    if step < optimizer.warmup_steps:
        return optimizer.lr * (step + 1) / optimizer.warmup_steps
    progress = (step - optimizer.warmup_steps) / (total - optimizer.warmup_steps)
    return optimizer.lr * anneal(optimizer.schedule, 1.0, optimizer.final_fraction, progress)
