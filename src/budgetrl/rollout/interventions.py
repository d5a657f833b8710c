"""Functions that act inside a decoding step, on the rows that asked for them: they may read and change hidden states
and logits. The native and the transformers engine run them; others say that they cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from budgetrl.core.records import Request


@dataclass(frozen=True)
class StepRows:
    """The rows of a step that an intervention is given: they alone, not the whole batch."""

    requests: Sequence[Request]
    lengths: Tensor
    """[r] int64: tokens of each row's completion so far, forced ones included."""


class Intervention:
    """Changes what a step computes for some rows. A subclass overrides what it needs.

    An intervention is asked at every step, so it should do its work for all rows at once, and must not wait for the
    device.
    """

    layers: ClassVar[Sequence[int]] = ()
    """The layers after which `edit_hidden` is called, counted from 0."""

    def edit_hidden(self, layer: int, hidden: Tensor, rows: StepRows) -> Tensor:
        """The hidden states [r, H] that the next layer is given; `hidden` [r, H] came out of `layer`."""
        return hidden

    def edit_logits(self, logits: Tensor, rows: StepRows) -> Tensor:
        """The logits [r, V] that the next token is drawn from, in place of `logits` [r, V]."""
        return logits


class EndTokenBan(Intervention):
    """Keeps end tokens from being drawn before `min_tokens` others, by logits of minus infinity."""

    def edit_logits(self, logits: Tensor, rows: StepRows) -> Tensor:
        banned = torch.zeros_like(logits, dtype=torch.bool)
        least: list[int] = []
        for row, request in enumerate(rows.requests):
            least.append(request.sampling.min_tokens)
            banned[row, list(request.sampling.stop_ids)] = True
        is_early = rows.lengths < torch.tensor(least, device=logits.device)
        return logits.masked_fill(banned & is_early[:, None], -torch.inf)


END_TOKEN_BAN = EndTokenBan()


def interventions_of(request: Request) -> list[Intervention]:
    """What acts on a request's steps."""
    found: list[Intervention] = []
    if request.sampling.min_tokens:
        found.append(END_TOKEN_BAN)
    if isinstance(request.intervention, Intervention):
        found.append(request.intervention)
    return found
