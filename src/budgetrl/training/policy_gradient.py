"""The policy-gradient objective of GRPO and its relatives: the loss of completions with known advantages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from budgetrl.core.records import Datum
from budgetrl.policy.module import PolicyModule
from budgetrl.settings.algorithm import Algorithm
from budgetrl.training.batching import Batch
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.losses import (
    kl_penalty,
    loss_tally,
    mismatch_tally,
    mismatch_weights,
    per_token,
    policy_loss,
    policy_ratio,
    token_weights,
)
from budgetrl.training.step import MicroBatch, collate_data, plan_units, single_units
from budgetrl.training.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDatum(Datum):
    """One completion to train on. Its values are those of the tokens that the policy drew; forced ones have none."""

    logprobs: tuple[float, ...]
    """Log-probability of each completion token when it was drawn, as reported by the rollout engine."""
    advantage: float
    budget_field: range
    """Positions, among the drawn tokens, of those that set the budget: its digits and the token after them. Empty if it
    has no budget.

    Example: in `<budget> 1 2 </budget>`, the positions of `1`, `2` and `</budget>`.
    """
    truncated: bool = False
    """Whether the completion hit the token limit."""
    old_logprobs: tuple[float, ...] | None = None
    """Log-probabilities before the first update of a rollout, computed by the training engine.

    None with one update per rollout: the current log-probabilities are then the old ones, and no extra forward pass is
    needed.
    """


def policy_logprobs(engine: ZeroEngine, data: Sequence[Datum], tokens_per_device: int) -> list[tuple[float, ...]]:
    """Compute the log-probability of each datum's response tokens, without gradient. Call on every rank.

    The work is split over the ranks; every rank gets the results for all data.
    """
    own: dict[int, tuple[float, ...]] = {}  # position in `data` -> log-probabilities
    with torch.no_grad():
        for indices in plan_units(single_units(data), tokens_per_device, engine):
            part = [data[i] for i in indices]
            lengths = [datum.learned_tokens for datum in part]
            # Run the engine even if the micro-batch is empty: under ZeRO 3 a forward pass is collective.
            logprobs_N, _ = engine(collate_data(part))
            logprobs_by_datum = logprobs_N.cpu().split(lengths) if part else ()
            for i, logprobs in zip(indices, logprobs_by_datum, strict=True):
                own[i] = tuple(logprobs.tolist())
    merged: dict[int, tuple[float, ...]] = {}
    for from_rank in engine.world.gather(own):
        merged |= from_rank
    return [merged[i] for i in range(len(data))]


@dataclass(frozen=True)
class PolicyGradient:
    """The policy loss of the `algorithm` config group, plus its KL penalty, minus the budget entropy bonus."""

    algorithm: Algorithm
    max_new_tokens: int
    """Maximum completion length in tokens: the denominator of loss.level=constant."""
    reference: PolicyModule | None = None
    """The frozen policy of the KL penalty; None: no penalty."""

    def weights(self, data: Sequence[PolicyDatum]) -> list[float]:
        """Return the loss weight of each completion's tokens. See `token_weights` for how masked ones count.

        If all completions are masked, every weight and so the gradient is 0.
        """
        settings = self.algorithm.loss
        lengths: list[int] = []
        masked: list[bool] = []
        for datum in data:
            lengths.append(datum.learned_tokens)
            masked.append(settings.mask_truncated and datum.truncated)
        return token_weights(lengths, settings.level, self.max_new_tokens, masked)

    def loss(self, engine: ZeroEngine, part: MicroBatch[PolicyDatum]) -> tuple[Tensor, Tally]:
        """Return sum(weight * (policy loss + KL penalty)) - entropy bonus, and the sums to log."""
        # 1. Forward pass, and the per-token inputs of the loss, all [N].
        algorithm, data, lengths = self.algorithm, part.data, part.lengths
        entropy_at, entropy_weights = _budget_fields(data)
        logprobs, entropies = engine(part.batch, entropy_at)
        device = logprobs.device
        old = _old_logprobs(data, logprobs.detach())
        rollout = _concatenated(datum.logprobs for datum in data).to(device)
        advantages = per_token([datum.advantage for datum in data], lengths).to(device)

        # 2. The surrogate loss, corrected for the mismatch between rollout engine and trainer.
        ratio = policy_ratio(logprobs, old, lengths, algorithm.loss.ratio_level)
        correction, cut = mismatch_weights(old, rollout, lengths, algorithm.mismatch)
        loss = policy_loss(logprobs, ratio, advantages, algorithm.loss) * correction
        tally = loss_tally(logprobs, old, ratio, advantages, algorithm.loss) + mismatch_tally(old, rollout, cut)
        tally += Tally(completions=len(lengths), budget_entropy=entropies.sum().item())

        # 3. The KL penalty. The logged value always uses k3, whatever estimator the penalty uses.
        if self.reference is not None:
            reference = _reference_logprobs(self.reference, part.batch.to(device))
            loss = loss + algorithm.kl.coefficient * kl_penalty(logprobs, reference, algorithm.kl.estimator)
            tally += Tally(kl=kl_penalty(logprobs.detach(), reference, "k3").sum().item())

        # 4. The entropy bonus on the budget field (ours). It is a mean over the digits of a budget: a sum would reward
        # writing more digits, and budgets would grow without bound. It is a mean over completions too, whatever the
        # loss level, so it is divided by the global batch size and not multiplied by the token weights.
        entropy = (entropies * entropy_weights.to(device)).sum() / max(1, part.batch_size)
        bonus = algorithm.budget_entropy.at(part.progress) * entropy
        return (loss * part.weights.to(device)).sum() - bonus, tally

    def metrics(self, stats: Sequence[Tally]) -> dict[str, float]:
        """Return the means over all tokens of the global batch. `kl` is left out if there is no reference."""
        metrics = sum(stats, Tally()).means()
        if self.reference is None:
            del metrics["kl"]
        return metrics


def _budget_fields(data: Sequence[PolicyDatum]) -> tuple[Tensor, Tensor]:
    """Return where the budget tokens are among the N tokens [K], and 1 / (digits of its budget) for each [K]."""
    positions: list[int] = []
    weights: list[float] = []
    start = 0  # offset of the completion's first token among the N tokens
    for datum in data:
        # The field is the digits and one more token, which decides that no further digit follows.
        digits = max(1, len(datum.budget_field) - 1)
        for position in datum.budget_field:
            positions.append(start + position)
            weights.append(1 / digits)
        start += datum.learned_tokens
    return torch.tensor(positions, dtype=torch.long), torch.tensor(weights)


def _old_logprobs(data: Sequence[PolicyDatum], current: Tensor) -> Tensor:
    """Return the log-probabilities [N] in the ratio's denominator: `current` if the data have none of their own.

    With `current` the ratio is exactly 1, but its gradient is still the policy gradient.
    """
    if not data or data[0].old_logprobs is None:
        return current
    return _concatenated(datum.old_logprobs or () for datum in data).to(current.device)


def _concatenated(values: Iterable[Sequence[float]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(values)))


@torch.no_grad()
def _reference_logprobs(reference: PolicyModule, batch: Batch) -> Tensor:
    """Return the reference policy's log-probabilities [N]."""
    no_entropies = torch.empty(0, dtype=torch.long, device=batch.rows.device)
    return reference(batch.input_ids, batch.rows, batch.columns, no_entropies)[0]
