"""One optimizer step on completions and their advantages: micro-batches, log-probabilities, loss, update."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from budgetrl.policy.module import PolicyModule
from budgetrl.settings.algorithm import Algorithm
from budgetrl.training.batching import Batch, Indices, collate, plan_ranks
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
from budgetrl.training.tally import Tally


@dataclass(frozen=True, slots=True)
class Experience:
    """One completion to learn from. Positions count its own tokens; the prompt is not trained on."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of the completion tokens, under the policy that wrote them, as its rollout engine reports them."""
    advantage: float
    budget_field: range
    """Positions of the tokens that decide the budget: its digits, and the token after them. Empty where it has none."""
    truncated: bool = False
    """Whether it ran into the token limit."""

    @property
    def size(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class Update:
    """How this optimizer step is made."""

    algorithm: Algorithm
    lr: float
    budget_entropy: float
    """Coefficient of the entropy bonus on the budget field."""
    tokens_per_device: int
    max_new_tokens: int
    """Longest completion allowed, in tokens: the denominator of loss_level=constant."""


@dataclass(frozen=True)
class _Share:
    """A micro-batch with what its loss needs, one entry per completion token [N]."""

    batch: Batch
    lengths: list[int]
    """Of its completions, in tokens."""
    advantages: Tensor
    weights: Tensor
    rollout_logprobs: Tensor
    old_logprobs: Tensor | None
    entropy_at: Tensor
    """Where budgets are written, [K]."""
    entropy_weights: Tensor
    """[K]: 1 / the digits of the budget that a token belongs to."""


class PolicyStep:
    """Steps an engine by the policy gradient. `reference` is the frozen policy of the KL penalty, or None."""

    def __init__(self, engine: ZeroEngine, reference: PolicyModule | None = None) -> None:
        self.engine, self.reference = engine, reference
        self.world = engine.world

    def logprobs(self, experience: Sequence[Experience], tokens_per_device: int) -> list[Tensor]:
        """The engine's own log-probabilities of each completion's tokens, on every rank.

        Needed as `old` when a rollout serves several optimizer steps; with one step, old is current.
        """
        mine: dict[int, Tensor] = {}
        with torch.no_grad():
            for part in self._plan(experience, tokens_per_device):
                lengths = [len(experience[i].completion_ids) for i in part]
                values, _ = self.engine(_collate([experience[i] for i in part]))
                mine.update(zip(part, values.cpu().split(lengths), strict=True) if part else ())
        known = {i: value for share in self.world.gather(mine) for i, value in share.items()}
        return [known[i] for i in range(len(experience))]

    def __call__(
        self, experience: Sequence[Experience], update: Update, old: Sequence[Tensor] | None = None
    ) -> dict[str, float]:
        """One optimizer step on the whole global batch, which every rank passes; returns its metrics.

        With `mask_truncated` truncated completions count in the weights of the others (`token_weights`) and are
        then left out: no forward pass, no share in the metrics. If all are truncated, the gradient is 0.
        """
        masked = [update.algorithm.mask_truncated and e.truncated for e in experience]
        lengths = [len(e.completion_ids) for e in experience]
        weights = token_weights(lengths, update.algorithm.loss_level, update.max_new_tokens, masked)
        left = [i for i, gone in enumerate(masked) if not gone]
        experience, weights = [experience[i] for i in left], [weights[i] for i in left]
        shares = self._shares(experience, weights, update.tokens_per_device, [old[i] for i in left] if old else None)
        tallies: list[Tally] = []

        def loss_share(share: _Share) -> Tensor:
            loss, tally = self._loss_share(share, update, len(experience))
            tallies.append(tally)
            return loss

        loss, norm = self.engine.step(shares, loss_share, update.lr)
        metrics = sum(self.world.gather(sum(tallies, Tally())), Tally()).means()
        if self.reference is None:
            del metrics["kl"]
        return {"loss": loss, "grad_norm": norm, "lr": update.lr, **metrics}

    def _loss_share(self, share: _Share, update: Update, completions: int) -> tuple[Tensor, Tally]:
        """This micro-batch's part of the loss, and what to log of it: weighted policy loss and KL, less the entropy
        bonus. `completions` are those of the global batch."""
        algorithm = update.algorithm
        logprobs, entropies = self.engine(share.batch, share.entropy_at)
        device = logprobs.device
        old = logprobs.detach() if share.old_logprobs is None else share.old_logprobs.to(device)
        advantages, rollout = share.advantages.to(device), share.rollout_logprobs.to(device)
        ratio = policy_ratio(logprobs, old, share.lengths, algorithm.ratio_level)
        correction, cut = mismatch_weights(old, rollout, share.lengths, algorithm)
        loss = policy_loss(logprobs, ratio, advantages, algorithm) * correction
        tally = loss_tally(logprobs, old, ratio, advantages, algorithm) + mismatch_tally(old, rollout, cut)
        tally += Tally(completions=len(share.lengths), budget_entropy=entropies.sum().item())
        if self.reference is not None:
            reference = self._reference_logprobs(self.reference, share.batch.to(device))
            loss = loss + algorithm.kl_coefficient * kl_penalty(logprobs, reference, algorithm.kl_estimator)
            tally += Tally(kl=kl_penalty(logprobs.detach(), reference, "k3").sum().item())
        # Per digit: a sum over digits would pay for writing more of them, and budgets would run away.
        bonus = update.budget_entropy * (entropies * share.entropy_weights.to(device)).sum() / max(1, completions)
        return (loss * share.weights.to(device)).sum() - bonus, tally

    @torch.no_grad()
    def _reference_logprobs(self, reference: PolicyModule, batch: Batch) -> Tensor:
        nowhere = torch.empty(0, dtype=torch.long, device=batch.rows.device)
        return reference(batch.input_ids, batch.rows, batch.columns, nowhere)[0]

    def _plan(self, experience: Sequence[Experience], tokens_per_device: int) -> list[Indices]:
        return plan_ranks([e.size for e in experience], tokens_per_device, self.world.size)[self.world.rank]

    def _shares(
        self,
        experience: Sequence[Experience],
        weights: Sequence[float],
        tokens_per_device: int,
        old: Sequence[Tensor] | None,
    ) -> list[_Share]:
        return [
            _share([experience[i] for i in part], [weights[i] for i in part], [old[i] for i in part] if old else None)
            for part in self._plan(experience, tokens_per_device)
        ]


def _collate(experience: Sequence[Experience]) -> Batch:
    return collate((e.prompt_ids, e.completion_ids) for e in experience)


def _share(experience: Sequence[Experience], weights: Sequence[float], old: Sequence[Tensor] | None) -> _Share:
    lengths = [len(e.completion_ids) for e in experience]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    fields = [start + i for start, e in zip(starts, experience, strict=True) for i in e.budget_field]
    return _Share(
        batch=_collate(experience),
        lengths=lengths,
        advantages=per_token([e.advantage for e in experience], lengths),
        weights=per_token(weights, lengths),
        rollout_logprobs=torch.tensor([value for e in experience for value in e.logprobs]),
        old_logprobs=torch.cat(list(old)) if old else None,
        entropy_at=torch.tensor(fields, dtype=torch.long),
        entropy_weights=torch.tensor([1 / max(1, len(e.budget_field) - 1) for e in experience for _ in e.budget_field]),
    )
