"""How parameters are stepped: the optimizer's settings and its learning rate, for every stage that trains."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.schedules import SCHEDULES, anneal


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a warm-up, a schedule and gradient clipping."""

    lr: float = 3e-4
    """The learning rate at the end of the warm-up."""
    warmup_steps: int = 5
    """Steps over which the learning rate rises linearly to `lr`; none of them has a rate of 0."""
    schedule: str = "constant"
    """constant, linear or cosine, from the end of the warm-up to the end of training."""
    final_fraction: float = 0.0
    """The share of `lr` a linear or cosine schedule ends at."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates of the first and the second moment."""
    weight_decay: float = 0.0
    """AdamW's decay of the weights, per unit of learning rate."""
    gradient_clipping: float = 1.0
    """The gradient is scaled down to this norm. 0: never."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "lr", "warmup_steps", "weight_decay", "gradient_clipping")
        require(self.lr > 0, "lr", f"{self.lr} would train nothing")
        require_range(self, 0, 1, "final_fraction")
        require_option(self, SCHEDULES, "schedule")
        pair = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(pair, "betas", f"{self.betas} is not two numbers from 0 to below 1")


def learning_rate(step: int, total: int, optimizer: Optimizer) -> float:
    """The rate of optimizer step `step`, counted from 0, of `total`.

    The warm-up's last step and the step after it both have the full rate. The final fraction is
    what the step after the last one would get, so that no step is spent at a rate of 0.

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
