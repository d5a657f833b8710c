"""The objective of GRPO and its relatives: completions and their advantages -> log-probabilities -> loss."""

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
    """One completion to learn from. Positions count its own tokens."""

    logprobs: tuple[float, ...]
    """Log-probabilities of the completion's tokens under the policy that wrote them, as its rollout engine says."""
    advantage: float
    budget_field: range
    """Positions of the tokens that decide the budget: its digits, and the token after them. Empty where it has none."""
    truncated: bool = False
    """Whether it ran into the token limit."""
    old_logprobs: tuple[float, ...] | None = None
    """As `logprobs`, of the engine in training, before the first step that the rollout serves. None: with one step a
    rollout, where these are the current ones."""


def policy_logprobs(engine: ZeroEngine, data: Sequence[Datum], tokens_per_device: int) -> list[tuple[float, ...]]:
    """The engine's own log-probabilities of each datum's response tokens, on every rank."""
    mine: dict[int, tuple[float, ...]] = {}
    with torch.no_grad():
        for part in plan_units(single_units(data), tokens_per_device, engine):
            chosen = [data[i] for i in part]
            values, _ = engine(collate_data(chosen))
            split = values.cpu().split([len(datum.response_ids) for datum in chosen]) if chosen else ()
            for i, of_datum in zip(part, split, strict=True):
                mine[i] = tuple(of_datum.tolist())
    known: dict[int, tuple[float, ...]] = {}
    for share in engine.world.gather(mine):
        known |= share
    return [known[i] for i in range(len(data))]


@dataclass(frozen=True)
class PolicyGradient:
    """The policy loss that an algorithm chooses, its KL penalty, and the entropy bonus on the budget field."""

    algorithm: Algorithm
    max_new_tokens: int
    """Longest completion allowed, in tokens: the denominator of loss.level=constant."""
    reference: PolicyModule | None = None
    """The frozen policy of the KL penalty; None: there is no penalty."""

    def weights(self, data: Sequence[PolicyDatum]) -> list[float]:
        """Masked completions count in the weights of the others (`token_weights`), and weigh 0 themselves.

        If all are masked, the gradient is 0.
        """
        how = self.algorithm.loss
        masked = [how.mask_truncated and datum.truncated for datum in data]
        lengths = [len(datum.response_ids) for datum in data]
        return token_weights(lengths, how.level, self.max_new_tokens, masked)

    def loss(self, engine: ZeroEngine, part: MicroBatch[PolicyDatum]) -> tuple[Tensor, Tally]:
        """Weighted policy loss and KL penalty, less the entropy bonus."""
        algorithm, data, lengths = self.algorithm, part.data, part.lengths
        entropy_at, entropy_weights = _budget_fields(data)
        logprobs, entropies = engine(part.batch, entropy_at)
        device = logprobs.device
        old = _old_logprobs(data, logprobs.detach())
        rollout = _concatenated(datum.logprobs for datum in data).to(device)
        advantages = per_token([datum.advantage for datum in data], lengths).to(device)

        ratio = policy_ratio(logprobs, old, lengths, algorithm.loss.ratio_level)
        correction, cut = mismatch_weights(old, rollout, lengths, algorithm.mismatch)
        loss = policy_loss(logprobs, ratio, advantages, algorithm.loss) * correction
        tally = loss_tally(logprobs, old, ratio, advantages, algorithm.loss) + mismatch_tally(old, rollout, cut)
        tally += Tally(completions=len(lengths), budget_entropy=entropies.sum().item())
        if self.reference is not None:
            reference = _reference_logprobs(self.reference, part.batch.to(device))
            loss = loss + algorithm.kl.coefficient * kl_penalty(logprobs, reference, algorithm.kl.estimator)
            tally += Tally(kl=kl_penalty(logprobs.detach(), reference, "k3").sum().item())

        # Per digit: a sum over digits would pay for writing more of them, and budgets would run away.
        entropy = (entropies * entropy_weights.to(device)).sum() / max(1, part.batch_size)
        bonus = algorithm.budget_entropy.at(part.progress) * entropy
        return (loss * part.weights.to(device)).sum() - bonus, tally

    def metrics(self, noted: Sequence[Tally]) -> dict[str, float]:
        metrics = sum(noted, Tally()).means()
        if self.reference is None:
            del metrics["kl"]
        return metrics


def _budget_fields(data: Sequence[PolicyDatum]) -> tuple[Tensor, Tensor]:
    """Where budgets are written among the N tokens [K], and 1 / the digits of the budget that each belongs to [K]."""
    places: list[int] = []
    weights: list[float] = []
    start = 0
    for datum in data:
        digits = max(1, len(datum.budget_field) - 1)
        for position in datum.budget_field:
            places.append(start + position)
            weights.append(1 / digits)
        start += len(datum.response_ids)
    return torch.tensor(places, dtype=torch.long), torch.tensor(weights)


def _old_logprobs(data: Sequence[PolicyDatum], current: Tensor) -> Tensor:
    """Log-probabilities [N] of the policy that the ratio is taken to: the current ones where data have none."""
    if not data or data[0].old_logprobs is None:
        return current
    return _concatenated(datum.old_logprobs or () for datum in data).to(current.device)


def _concatenated(values: Iterable[Sequence[float]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(values)))


@torch.no_grad()
def _reference_logprobs(reference: PolicyModule, batch: Batch) -> Tensor:
    nowhere = torch.empty(0, dtype=torch.long, device=batch.rows.device)
    return reference(batch.input_ids, batch.rows, batch.columns, nowhere)[0]
