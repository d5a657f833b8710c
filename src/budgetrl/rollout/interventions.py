"""Interventions: code that reads or changes hidden states and logits during decoding, for the requests that ask for it.

The native engine and the transformers engine support them; see `Capabilities.interventions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from budgetrl.core.records import Request


@dataclass(frozen=True)
class StepRows:
    """The rows of a decoding step that have the intervention. Other rows of the batch are not included."""

    requests: Sequence[Request]
    lengths: Tensor
    """Number of tokens in each row's completion so far, forced ones included: [r] int64."""


class Intervention:
    """Changes what a decoding step computes for some rows. Subclasses override the methods they need.

    The methods run at every step, so they should be vectorized over the rows. They must not wait for the device, as
    `.item()` or `.tolist()` would: that stalls the whole batch.
    """

    layers: ClassVar[Sequence[int]] = ()
    """Indices of the layers whose output `edit_hidden` may change. The first layer is 0."""

    def edit_hidden(self, layer: int, hidden: Tensor, rows: StepRows) -> Tensor:
        """Return the hidden states [r, H] to pass to the next layer. `hidden` [r, H] is the output of `layer`."""
        return hidden

    def edit_logits(self, logits: Tensor, rows: StepRows) -> Tensor:
        """Return the logits [r, V] to sample the next token from, in place of the model's `logits` [r, V]."""
        return logits


class EndTokenBan(Intervention):
    """Prevents end tokens before `min_tokens` other tokens, by setting their logits to minus infinity."""

    def edit_logits(self, logits: Tensor, rows: StepRows) -> Tensor:
        banned = torch.zeros_like(logits, dtype=torch.bool)
        min_tokens: list[int] = []
        for row, request in enumerate(rows.requests):
            min_tokens.append(request.sampling.min_tokens)
            banned[row, list(request.sampling.stop_ids)] = True
        is_early = rows.lengths < torch.tensor(min_tokens, device=logits.device)
        return logits.masked_fill(banned & is_early[:, None], -torch.inf)


# One shared object, because engines group rows by intervention.
END_TOKEN_BAN = EndTokenBan()


def interventions_of(request: Request) -> list[Intervention]:
    """Return the interventions of a request, in the order in which they apply."""
    found: list[Intervention] = []
    if request.sampling.min_tokens:
        found.append(END_TOKEN_BAN)
    if isinstance(request.intervention, Intervention):
        found.append(request.intervention)
    return found
