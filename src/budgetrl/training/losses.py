"""The policy loss, on flat tensors with one entry per completion token of a micro-batch [N].

The loss of an optimiser step is `sum(weight * per-token loss)` over all tokens of its whole batch,
with weights that are known before the first forward pass (`token_weights`). Micro-batches and ranks
therefore only add up, and how the batch was split cannot change the loss or its gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from budgetrl.training.algorithm import KL_ESTIMATORS, LOSS_LEVELS

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-this before exp, so that one stray token cannot make the loss infinite."""


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's clipped surrogate, per token [N], to be minimised: -min(ratio A, clip(ratio) A).

    `ratio` = exp(logprobs - old_logprobs) is clipped to [1 - clip_low, 1 + clip_high]; where the
    clip is active the gradient is 0. All inputs are [N], in nats; `advantages` is each token's
    completion's. Gradient flows into `logprobs` alone.
    """
    ratio = _ratio(logprobs, old_logprobs.detach())
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, kind: str) -> Tensor:
    """KL(policy || reference) estimated per token [N] from tokens the policy drew, in nats.

    With d = ref_logprobs - logprobs (Schulman, "Approximating KL divergence", 2020):

    - k1 = -d            unbiased, may be negative. Its expected gradient is 0, so as a penalty in
                         the loss it adds noise and does not hold the policy: use it to measure.
    - k2 = d^2 / 2       biased, never negative. Its expected gradient is that of KL(policy || reference).
    - k3 = exp(d) - d - 1    unbiased, never negative. Its expected gradient is that of
                         KL(reference || policy); GRPO's choice.

    Gradient flows into `logprobs` alone. Raises ValueError for another kind.
    """
    d = (ref_logprobs.detach() - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    match kind:
        case "k1":
            return -d
        case "k2":
            return d.square() / 2
        case "k3":
            return d.expm1() - d
    raise ValueError(f"no KL estimator {kind!r}; there are {', '.join(KL_ESTIMATORS)}")


def token_weights(lengths: Sequence[int], level: str) -> list[float]:
    """The weight of every token of each completion of the whole batch: all micro-batches on all ranks.

    `lengths` are in tokens. Level `token`: 1 / total tokens, so a long completion counts for more.
    Level `sequence`: 1 / (completions * its length), so each counts the same, and a token of a long
    one for less. Over all tokens the weights sum to 1. `spread` gives them to tokens. Raises
    ValueError for an unknown level and for a completion without tokens.

    >>> token_weights([1, 3], "token"), token_weights([1, 4], "sequence")
    ([0.25, 0.25], [0.5, 0.125])
    """
    if min(lengths, default=0) < 1:
        raise ValueError(f"every completion needs at least one token, got lengths {list(lengths)}")
    match level:
        case "token":
            return [1 / sum(lengths)] * len(lengths)
        case "sequence":
            return [1 / (len(lengths) * length) for length in lengths]
    raise ValueError(f"no loss level {level!r}; there are {', '.join(LOSS_LEVELS)}")


def spread(values: Sequence[float], lengths: Sequence[int]) -> Tensor:
    """One number per completion -> one per token [N], float32 on the CPU: its advantage, its weight.

    >>> spread([0.5, -1.0], [2, 1]).tolist()
    [0.5, 0.5, -1.0]
    """
    return torch.tensor(values, dtype=torch.float32).repeat_interleave(torch.tensor(lengths, dtype=torch.long))


@dataclass(frozen=True)
class LossMetrics:
    """Token sums that `+` adds over micro-batches and ranks, until `means` gives what is logged."""

    tokens: float = 0.0
    clipped: float = 0.0
    ratio: float = 0.0
    ratio_max: float = 0.0
    kl: float = 0.0

    def __add__(self, other: "LossMetrics") -> "LossMetrics":
        return LossMetrics(
            self.tokens + other.tokens,
            self.clipped + other.clipped,
            self.ratio + other.ratio,
            max(self.ratio_max, other.ratio_max),
            self.kl + other.kl,
        )

    def means(self) -> dict[str, float]:
        """Share of tokens whose gradient the clip cut; mean and largest ratio; KL(old || new) per token."""
        return {
            "clip_fraction": self.clipped / self.tokens,
            "ratio": self.ratio / self.tokens,
            "ratio_max": self.ratio_max,
            "kl_old": self.kl / self.tokens,
        }


@torch.no_grad()
def loss_metrics(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> LossMetrics:
    """The metrics of one micro-batch, from what its `policy_loss` was given ([N] each; N may be 0)."""
    if not len(logprobs):
        return LossMetrics()
    ratio = _ratio(logprobs, old_logprobs)
    clipped = (ratio < 1 - clip_low) & (advantages < 0) | (ratio > 1 + clip_high) & (advantages > 0)
    kl = kl_penalty(old_logprobs, logprobs, "k3")  # drawn by the old policy
    sums = torch.stack([clipped.sum(), ratio.sum(), ratio.max(), kl.sum()])  # one transfer from the device
    return LossMetrics(len(logprobs), *sums.tolist())


def _ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    return (logprobs - old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
