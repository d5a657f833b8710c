"""The policy loss, on flat tensors with one entry per completion token of a micro-batch [N].

The loss of an optimizer step is `sum(weight * per-token loss)` over all tokens of its global batch, with weights that
are known before the first forward pass (`token_weights`). Losses of micro-batches and ranks are therefore simply added
up, and how the batch was split cannot change the loss or its gradient. A completion is never split over micro-batches,
so a sequence-level ratio has all its tokens at hand: `lengths` is the number of tokens of each completion, in order.

Example: two completions of 2 and 3 tokens give N = 5 and lengths = [2, 3].
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from budgetrl.settings.algorithm import KL_ESTIMATORS, LOSS_LEVELS, LossSettings, MismatchSettings
from budgetrl.training.tally import Tally

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-20 before exp (exp(20) = 4.9e8), so that a single token cannot make the loss infinite."""


def policy_ratio(logprobs: Tensor, old_logprobs: Tensor, lengths: Sequence[int], level: str) -> Tensor:
    """Return the probability ratio new / old of each token [N]. Gradient flows only into `logprobs`.

    Level `token`: exp(logprobs - old_logprobs). Level `sequence` (GSPO, arXiv 2507.18071, equation 7): exp of the mean
    difference over the completion, which is the same for all of its tokens.
    """
    difference = logprobs - old_logprobs.detach()
    if level == "sequence":
        difference = _reduce_per_completion(torch.mean, difference, lengths)
    return difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def policy_loss(logprobs: Tensor, ratio: Tensor, advantages: Tensor, settings: LossSettings) -> Tensor:
    """Return the surrogate loss of each token [N], to be minimized.

    Below, A is `advantages` (each token has its completion's), and b(ratio) is the ratio clipped to
    [1 - clip_low, 1 + clip_high].

    - clip   -min(ratio A, b(ratio) A), as in PPO. The gradient is 0 where the clip is active. `dual_clip` also caps
             the unclipped ratio (arXiv 1912.09729), which matters only where A < 0.
    - cispo  -sg(b(ratio)) A log pi, where sg stops the gradient. No token has gradient 0 (MiniMax-M1, arXiv
             2506.13585).
    - sapo   -4 / tau sigmoid(tau (ratio - 1)) A, where tau = tau_positive if A > 0, else tau_negative (arXiv
             2511.20347). The gradient fades as the ratio moves away from 1; at 1 it equals that of REINFORCE.
    """
    match settings.surrogate:
        case "cispo":
            return -_clip_ratio(ratio, settings).detach() * advantages * logprobs
        case "sapo":
            tau = torch.where(advantages > 0, settings.tau_positive, settings.tau_negative)
            return -4 / tau * torch.sigmoid(tau * (ratio - 1)) * advantages
    unclipped = ratio if settings.dual_clip is None else ratio.clamp(max=settings.dual_clip)
    return -torch.minimum(unclipped * advantages, _clip_ratio(ratio, settings) * advantages)


@torch.no_grad()
def mismatch_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor, lengths: Sequence[int], settings: MismatchSettings
) -> tuple[Tensor, Tensor]:
    """Return importance weights for the policy loss [N], and which tokens the correction cut [N] (bool).

    A rollout engine and the trainer compute slightly different probabilities from the same weights (other kernels,
    other precision). With r = exp(old - rollout), per token or for the whole sequence (differences summed):

    - truncate   weight min(r, cap) (TIS; Yao et al., "Your efficient RL framework secretly brings you off-policy RL
                 training", 2025)
    - mask       weight r where floor <= r <= cap, else 0 (IcePop, arXiv 2510.18855)
    - none       weight 1
    """
    level, _, action = settings.correction.partition("_")  # such as token_truncate
    if level == "none":
        return torch.ones_like(old_logprobs), torch.zeros_like(old_logprobs, dtype=torch.bool)
    difference = old_logprobs - rollout_logprobs
    if level == "sequence":
        difference = _reduce_per_completion(torch.sum, difference, lengths)
    ratio = difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    cut = (ratio > settings.cap) | (ratio < settings.floor)
    weights = ratio.clamp(max=settings.cap) if action == "truncate" else ratio.masked_fill(cut, 0.0)
    return weights, cut


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, kind: str) -> Tensor:
    """Estimate KL(policy || reference) per token [N], in nats, from tokens that the policy drew.

    With d = ref_logprobs - logprobs (Schulman, "Approximating KL divergence", 2020):

    - k1 = -d                Unbiased, may be negative. Its expected gradient is 0: in the loss it adds only noise and
                             does not hold the policy back. Use it for measuring.
    - k2 = d^2 / 2           Biased, never negative. Its expected gradient is that of KL(policy || reference).
    - k3 = exp(d) - d - 1    Unbiased, never negative. Its expected gradient is that of KL(reference || policy). GRPO
                             uses this one.

    Gradient flows only into `logprobs`.

    Raises:
        ValueError: unknown kind.
    """
    d = (ref_logprobs.detach() - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    match kind:
        case "k1":
            return -d
        case "k2":
            return d.square() / 2
        case "k3":
            return d.expm1() - d  # exp(d) - 1 would lose precision near d = 0
    raise ValueError(f"no KL estimator {kind!r}; there are {', '.join(KL_ESTIMATORS)}")


def token_weights(lengths: Sequence[int], level: str, max_length: int, masked: Sequence[bool] = ()) -> list[float]:
    """Return the loss weight of every token of each completion of the global batch.

    Levels, with lengths in tokens:

    - token      1 / total tokens. A long completion counts for more.
    - sequence   1 / (number of completions * its length). All completions count the same.
    - constant   1 / (number of completions * `max_length`). No weight depends on any length (Dr. GRPO, arXiv
                 2503.20783).

    With `token` and `sequence` the weights of all tokens sum to 1 if nothing is masked.

    Masked completions weigh 0. They still count as completions in `sequence` and `constant`, so masking does not change
    the weights of the others; their tokens do not count toward the total of `token`. TRL's GRPO trainer does the same.

    Args:
        lengths: tokens of each completion.
        level: token, sequence or constant.
        max_length: maximum completion length.
        masked: whether each completion is masked; empty if none is.

    Raises:
        ValueError: unknown level, or a completion without tokens.

    >>> token_weights([1, 3], "token", 9), token_weights([1, 4], "sequence", 9), token_weights([1, 4], "constant", 8)
    ([0.25, 0.25], [0.5, 0.125], [0.0625, 0.0625])
    >>> token_weights([1, 4], "token", 9, [False, True]), token_weights([1, 4], "sequence", 9, [False, True])
    ([1.0, 0.0], [0.5, 0.0])
    """
    if min(lengths, default=1) < 1:
        raise ValueError(f"every completion needs at least one token, got lengths {list(lengths)}")
    if min(lengths, default=1) < 1:
        raise ValueError(f"every completion needs at least one token, got lengths {list(lengths)}")
    masked = masked or [False] * len(lengths)
    completions = len(lengths)
    match level:
        case "token":
            total = sum(length for length, is_masked in zip(lengths, masked, strict=True) if not is_masked)
            denominators = [total] * completions
        case "sequence":
            denominators = [completions * length for length in lengths]
        case "constant":
            denominators = [completions * max_length] * completions
        case _:
            raise ValueError(f"no loss level {level!r}; there are {', '.join(LOSS_LEVELS)}")
    weights: list[float] = []
    for denominator, is_masked in zip(denominators, masked, strict=True):
        weights.append(0.0 if is_masked else 1 / denominator)  # if all are masked, the total may be 0
    return weights


def per_token(values: Sequence[float], lengths: Sequence[int]) -> Tensor:
    """Repeat each completion's value for all of its tokens [N]; float32, on the CPU.

    >>> per_token([0.5, -1.0], [2, 1]).tolist()
    [0.5, 0.5, -1.0]
    """
    return torch.tensor(values, dtype=torch.float32).repeat_interleave(torch.tensor(lengths, dtype=torch.long))


@torch.no_grad()
def loss_tally(
    logprobs: Tensor, old_logprobs: Tensor, ratio: Tensor, advantages: Tensor, settings: LossSettings
) -> Tally:
    """Return the sums to log for one micro-batch. Arguments are those of `policy_loss` [N]; N may be 0."""
    if not len(logprobs):
        return Tally()
    # The old policy drew the tokens, so it takes the place of the policy, and the new one that of the reference.
    kl = kl_penalty(old_logprobs, logprobs, "k3")
    clipped = _clipped(ratio, advantages, settings)
    # Stacked, so that the four numbers cost one transfer from the device.
    sums = torch.stack([clipped.sum(), ratio.sum(), ratio.max(), kl.sum()])
    clipped_sum, ratio_sum, ratio_max, kl_sum = sums.tolist()
    return Tally(tokens=len(logprobs), clipped=clipped_sum, ratio=ratio_sum, ratio_max=ratio_max, kl_old=kl_sum)


@torch.no_grad()
def mismatch_tally(old_logprobs: Tensor, rollout_logprobs: Tensor, cut: Tensor) -> Tally:
    """Return the sums to log for one micro-batch, given inputs and mask of `mismatch_weights` [N]; N may be 0."""
    if not len(cut):
        return Tally()
    distance = (old_logprobs - rollout_logprobs).abs()
    return Tally(
        mismatch=distance.sum().item(),
        mismatch_max=distance.max().item(),
        mismatch_cut=cut.sum().item(),
        surprise=-rollout_logprobs.sum().item(),
    )


def _clipped(ratio: Tensor, advantages: Tensor, settings: LossSettings) -> Tensor:
    """Return which tokens [N] `clip` gave no gradient, or `cispo` a clipped weight. `sapo` has no clip."""
    low, high = ratio < 1 - settings.clip_low, ratio > 1 + settings.clip_high
    match settings.surrogate:
        case "cispo":
            return low | high
        case "sapo":
            return torch.zeros_like(low)
    too_high = torch.zeros_like(low) if settings.dual_clip is None else ratio > settings.dual_clip
    # The minimum in the loss picks the constant, clipped term only on one side: below the range where A < 0, above it
    # where A > 0. The dual clip adds the far high side where A < 0.
    return (low | too_high) & (advantages < 0) | high & (advantages > 0)


def _clip_ratio(ratio: Tensor, settings: LossSettings) -> Tensor:
    return ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)


def _reduce_per_completion(reduce: Callable[[Tensor], Tensor], values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Reduce each completion's values to one, such as their mean, and repeat it for each of its tokens [N]."""
    if not lengths:
        return values
    reduced = [reduce(part).expand(len(part)) for part in values.split(list(lengths))]
    return torch.cat(reduced)
