"""The policy loss, on flat tensors with one entry per completion token of a micro-batch [N].

The loss of an optimizer step is `sum(weight * per-token loss)` over all tokens of its whole batch,
with weights that are known before the first forward pass (`token_weights`). Micro-batches and ranks
therefore only add up, and how the batch was split cannot change the loss or its gradient. What needs
all tokens of a completion (a sequence's ratio) finds them in one micro-batch: `lengths` says how many
of the N tokens each completion has, in order.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from budgetrl.settings.algorithm import KL_ESTIMATORS, LOSS_LEVELS, LossSettings, MismatchSettings
from budgetrl.training.tally import Tally

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-this before exp, so that one stray token cannot make the loss infinite."""


def policy_ratio(logprobs: Tensor, old_logprobs: Tensor, lengths: Sequence[int], level: str) -> Tensor:
    """Probability of the new policy over that of the old, per token [N]; gradient flows into `logprobs` alone.

    Level `token`: exp(logprobs - old_logprobs). Level `sequence` (GSPO, arXiv 2507.18071, equation
    7): exp of their mean difference over the completion, the same for each of its tokens.
    """
    difference = logprobs - old_logprobs.detach()
    if level == "sequence":
        difference = _for_each(torch.mean, difference, lengths)
    return difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def policy_loss(logprobs: Tensor, ratio: Tensor, advantages: Tensor, settings: LossSettings) -> Tensor:
    """The surrogate, per token [N], to be minimized; `ratio` is `policy_ratio`'s, b bounds it to
    [1 - clip_low, 1 + clip_high], and `advantages` is each token's completion's A.

    - clip   -min(ratio A, b(ratio) A): PPO's. Where the bound is active the gradient is 0. With
             `dual_clip` the ratio that is not bounded is at most that (arXiv 1912.09729): it acts where A < 0.
    - cispo  -sg(b(ratio)) A log pi, sg stopping the gradient: no token's is ever 0 (MiniMax-M1, arXiv 2506.13585).
    - sapo   -4 / tau sigmoid(tau (ratio - 1)) A, tau = tau_positive where A > 0, else tau_negative
             (arXiv 2511.20347): the gradient fades as the ratio leaves 1, and is REINFORCE's at 1.
    """
    match settings.surrogate:
        case "cispo":
            return -_bounded(ratio, settings).detach() * advantages * logprobs
        case "sapo":
            tau = torch.where(advantages > 0, settings.tau_positive, settings.tau_negative)
            return -4 / tau * torch.sigmoid(tau * (ratio - 1)) * advantages
    free = ratio if settings.dual_clip is None else ratio.clamp(max=settings.dual_clip)
    return -torch.minimum(free * advantages, _bounded(ratio, settings) * advantages)


@torch.no_grad()
def mismatch_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor, lengths: Sequence[int], settings: MismatchSettings
) -> tuple[Tensor, Tensor]:
    """(weight of each token's policy loss [N], where the correction cut it [N] bool).

    The rollout engine's probabilities differ from the trainer's for the same weights. With r = exp(old -
    rollout), of the token or of the whole sequence (differences summed), `truncate` weighs by min(r,
    cap) (TIS, Yao et al., "Your efficient RL framework secretly brings you off-policy RL training",
    2025) and `mask` by r where floor <= r <= cap, else by 0 (IcePop, arXiv 2510.18855). `none`: 1.
    """
    level, _, action = settings.correction.partition("_")
    if level == "none":
        return torch.ones_like(old_logprobs), torch.zeros_like(old_logprobs, dtype=torch.bool)
    difference = old_logprobs - rollout_logprobs
    if level == "sequence":
        difference = _for_each(torch.sum, difference, lengths)
    ratio = difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    cut = (ratio > settings.cap) | (ratio < settings.floor)
    return ratio.clamp(max=settings.cap) if action == "truncate" else ratio.masked_fill(cut, 0.0), cut


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


def token_weights(lengths: Sequence[int], level: str, longest: int, masked: Sequence[bool] = ()) -> list[float]:
    """The weight of every token of each completion of the whole batch: all micro-batches on all ranks.

    Lengths are in tokens. Level `token`: 1 / total tokens, so a long completion counts for more.
    Level `sequence`: 1 / (completions * its length), so each counts the same, and a token of a long
    one for less; over all tokens the weights of these two sum to 1. Level `constant`: 1 /
    (completions * `longest` allowed), so that no token's weight depends on how long anything came
    out (Dr. GRPO, arXiv 2503.20783). `per_token` gives them to tokens.

    Completions that are `masked` (none if it is empty) weigh 0. They still count among the completions of
    `sequence` and `constant`, so that the others weigh what they would without a mask; their tokens do
    not count in the total of `token`. So has TRL's GRPO trainer.

    Raises ValueError for an unknown level and for a completion without tokens.

    >>> token_weights([1, 3], "token", 9), token_weights([1, 4], "sequence", 9), token_weights([1, 4], "constant", 8)
    ([0.25, 0.25], [0.5, 0.125], [0.0625, 0.0625])
    >>> token_weights([1, 4], "token", 9, [False, True]), token_weights([1, 4], "sequence", 9, [False, True])
    ([1.0, 0.0], [0.5, 0.0])
    """
    masked = masked or [False] * len(lengths)
    weights = zip(_unmasked_weights(lengths, level, longest, masked), masked, strict=True)
    return [0.0 if gone else weight for weight, gone in weights]


def _unmasked_weights(lengths: Sequence[int], level: str, longest: int, masked: Sequence[bool]) -> list[float]:
    """What each completion's tokens would weigh if it were not masked itself."""
    if min(lengths, default=1) < 1:
        raise ValueError(f"every completion needs at least one token, got lengths {list(lengths)}")
    count, total = len(lengths), sum(n for n, gone in zip(lengths, masked, strict=True) if not gone)
    match level:
        case "token":
            return [1 / max(1, total) for _ in lengths]  # all masked: no weight is asked for
        case "sequence":
            return [1 / (count * length) for length in lengths]
        case "constant":
            return [1 / (count * longest) for _ in lengths]
    raise ValueError(f"no loss level {level!r}; there are {', '.join(LOSS_LEVELS)}")


def per_token(values: Sequence[float], lengths: Sequence[int]) -> Tensor:
    """One number per completion -> one per token [N], float32 on the CPU: its advantage, its weight.

    >>> per_token([0.5, -1.0], [2, 1]).tolist()
    [0.5, 0.5, -1.0]
    """
    return torch.tensor(values, dtype=torch.float32).repeat_interleave(torch.tensor(lengths, dtype=torch.long))


@torch.no_grad()
def loss_tally(
    logprobs: Tensor, old_logprobs: Tensor, ratio: Tensor, advantages: Tensor, settings: LossSettings
) -> Tally:
    """What to log of one micro-batch, from what its `policy_loss` was given ([N] each; N may be 0)."""
    if not len(logprobs):
        return Tally()
    kl = kl_penalty(old_logprobs, logprobs, "k3")  # drawn by the old policy
    clipped = _clipped(ratio, advantages, settings)
    sums = torch.stack([clipped.sum(), ratio.sum(), ratio.max(), kl.sum()])  # one transfer from the device
    on_clipped, ratios, largest, kl_old = sums.tolist()
    return Tally(tokens=len(logprobs), clipped=on_clipped, ratio=ratios, ratio_max=largest, kl_old=kl_old)


@torch.no_grad()
def mismatch_tally(old_logprobs: Tensor, rollout_logprobs: Tensor, cut: Tensor) -> Tally:
    """What to log of one micro-batch, from what its `mismatch_weights` were given and gave ([N] each; N may be 0)."""
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
    """Where `clip` cut the gradient, or `cispo` bounded its weight; `sapo` does neither."""
    low, high = ratio < 1 - settings.clip_low, ratio > 1 + settings.clip_high
    match settings.surrogate:
        case "cispo":
            return low | high
        case "sapo":
            return torch.zeros_like(low)
    far = torch.zeros_like(low) if settings.dual_clip is None else ratio > settings.dual_clip
    return (low | far) & (advantages < 0) | high & (advantages > 0)


def _bounded(ratio: Tensor, settings: LossSettings) -> Tensor:
    return ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)


def _for_each(reduce: Callable[[Tensor], Tensor], values: Tensor, lengths: Sequence[int]) -> Tensor:
    """The sum or mean [N] of each completion's values, at each of its tokens."""
    return torch.cat([reduce(part).expand(len(part)) for part in values.split(list(lengths))]) if lengths else values
