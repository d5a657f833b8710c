"""Assign sequences to ranks and micro-batches, and collate them into tensors.

Lengths are in tokens, prompt plus completion. Everything here is a pure function of its arguments, so all ranks compute
the same plan without communication.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Indices = list[int]
"""Positions in the list of sequences that the lengths came from."""

PADDING = 0
"""Any id in the vocabulary will do: no token attends to padding on its right, and no loss is computed there."""


def plan_micro_batches(lengths: Sequence[int], tokens_per_device: int) -> list[Indices]:
    """Split sequences into micro-batches of at most `tokens_per_device` padded tokens (rows x longest).

    Longest first: sequences of similar length share a micro-batch, so there is little padding, and running out of
    memory happens in the first micro-batch of a step instead of the last. A sequence that exceeds the limit alone gets
    a micro-batch of its own. Each index appears once.

    Raises:
        ValueError: a length or `tokens_per_device` is below 1.
    """
    _check(lengths, tokens_per_device)
    batches: list[Indices] = []
    columns = 0  # of the current micro-batch: the length of its first, longest sequence
    for index in _longest_first(lengths):
        if batches and (len(batches[-1]) + 1) * columns <= tokens_per_device:
            batches[-1].append(index)
        else:
            batches.append([index])
            columns = lengths[index]
    return batches


def assign_to_ranks(lengths: Sequence[int], ranks: int) -> list[Indices]:
    """Distribute sequences so that each rank gets about the same number of tokens: [rank][...].

    Greedy, longest first, each to the rank with the fewest tokens so far. The totals of any two ranks differ by at most
    the length of the longest sequence.
    """
    assigned: list[Indices] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for index in _longest_first(lengths):
        rank = tokens.index(min(tokens))
        assigned[rank].append(index)
        tokens[rank] += lengths[index]
    return assigned


def pad_to(batches: Sequence[Indices], count: int) -> list[Indices]:
    """Append empty micro-batches up to `count`.

    Under ZeRO 2 and 3 every forward and backward pass communicates, so a rank with fewer micro-batches would leave the
    others waiting forever.
    """
    if len(batches) > count:
        raise ValueError(f"{len(batches)} micro-batches do not fit into {count}")
    padded = list(batches)
    while len(padded) < count:
        padded.append([])
    return padded


def plan_ranks(lengths: Sequence[int], tokens_per_device: int, ranks: int) -> list[list[Indices]]:
    """Plan the micro-batches [rank][micro-batch][index] of all ranks.

    Every rank gets the same number of micro-batches, at least one. Some may be empty.
    """
    plans: list[list[Indices]] = []
    for assigned in assign_to_ranks(lengths, ranks):
        own_lengths = [lengths[i] for i in assigned]
        plan: list[Indices] = []
        for batch in plan_micro_batches(own_lengths, tokens_per_device):
            plan.append([assigned[i] for i in batch])  # from positions in `assigned` to those in `lengths`
        plans.append(plan)
    count = max(1, *map(len, plans))
    return [pad_to(plan, count) for plan in plans]


def split_evenly(prompts: int, parts: int) -> list[range]:
    """Split the indices of `prompts` into `parts` consecutive ranges whose sizes differ by at most one.

    >>> split_evenly(5, 2)
    [range(0, 2), range(2, 5)]
    """
    if not 1 <= parts <= prompts:
        raise ValueError(f"{prompts} prompts cannot be split into {parts} minibatches")
    bounds = [prompts * part // parts for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(bounds)]


@dataclass(frozen=True)
class Batch:
    """The token ids of a micro-batch, and the positions of its N completion tokens.

    `input_ids[rows[i], columns[i]]` is the i-th completion token, ordered by sequence, then by position. The model
    predicts it at column `columns[i] - 1`. Only these positions distinguish text from padding; token ids do not, since
    `PADDING` may occur in a text. There is no attention mask: under a causal mask no token sees padding on its right.

    Example: ([5, 6], [7]) and ([8], [9, 4, 2]), as (prompt, completion), have input_ids [[5, 6, 7, 0], [8, 9, 4, 2]],
    rows [0, 1, 1, 1] and columns [2, 1, 2, 3].
    """

    input_ids: Tensor
    """[B, T] long, right-padded."""
    rows: Tensor
    """[N] long."""
    columns: Tensor
    """[N] long."""

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.input_ids.to(device), self.rows.to(device), self.columns.to(device))


def collate(sequences: Iterable[tuple[Sequence[int], Sequence[int], Collection[int]]]) -> Batch:
    """Collate the (prompt ids, completion ids, skipped positions) of sequences into one right-padded batch on the CPU.

    Completion tokens at skipped positions are part of the text, but not among the N tokens of the batch.

    An empty micro-batch becomes one padding row without completion tokens. Every rank must run a forward and backward
    pass; on this row the gradient is 0.

    Raises:
        ValueError: an empty prompt. Nothing would predict the first completion token.
    """
    rows_of_batch = list(sequences) or [([PADDING], [], ())]
    longest = 0
    for prompt, completion, _ in rows_of_batch:
        if not len(prompt):
            raise ValueError("every sequence needs at least one prompt token")
        longest = max(longest, len(prompt) + len(completion))
    input_ids = torch.full((len(rows_of_batch), longest), PADDING)
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    for row, (prompt, completion, skipped) in enumerate(rows_of_batch):
        start, end = len(prompt), len(prompt) + len(completion)
        input_ids[row, :end] = torch.tensor([*prompt, *completion])
        learned = [start + position for position in range(len(completion)) if position not in skipped]
        rows.append(torch.full((len(learned),), row))
        columns.append(torch.tensor(learned, dtype=torch.long))
    return Batch(input_ids, torch.cat(rows), torch.cat(columns))


def _longest_first(lengths: Sequence[int]) -> Indices:
    # `sorted` is stable, so equal lengths stay in order and every rank sorts alike.
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def _check(lengths: Sequence[int], tokens_per_device: int) -> None:
    if tokens_per_device < 1:
        raise ValueError(f"tokens_per_device must be 1 or more, got {tokens_per_device}")
    if min(lengths, default=1) < 1:
        raise ValueError(f"every sequence needs at least one token, got lengths {list(lengths)}")
