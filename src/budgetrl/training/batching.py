"""Which sequence goes into which micro-batch on which rank, and the tensors it becomes.

Lengths are in tokens, prompt and completion together. Everything here is a pure function of its
arguments, so all ranks compute the same plan without talking to each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Indices = list[int]
"""Which of the sequences, by their position in the list the lengths came from."""

PADDING = 0
"""Any id in the vocabulary will do: no token ever attends to padding, and no loss is taken there."""


def plan_micro_batches(lengths: Sequence[int], tokens_per_device: int) -> list[Indices]:
    """Split sequences into micro-batches of at most `tokens_per_device` padded tokens (rows x longest).

    Longest first: like goes with like, so little is padding, and the most memory is needed at once
    rather than an hour into training. A sequence that is too long by itself gets a micro-batch to
    itself. Each index appears once. Raises ValueError for a length below 1.
    """
    _check(lengths, tokens_per_device)
    batches: list[Indices] = []
    for index in _longest_first(lengths):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= tokens_per_device:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def assign_to_ranks(lengths: Sequence[int], ranks: int) -> list[Indices]:
    """Share sequences out so that each rank has about the same number of tokens: [rank][...].

    The longest first, each to the rank with the fewest tokens so far; no two ranks differ by more
    than the longest sequence.
    """
    hands: list[Indices] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for index in _longest_first(lengths):
        rank = tokens.index(min(tokens))
        hands[rank].append(index)
        tokens[rank] += lengths[index]
    return hands


def pad_to(batches: Sequence[Indices], count: int) -> list[Indices]:
    """Fill up with empty micro-batches to `count`: under ZeRO 2 and 3 ranks must run the same number."""
    if len(batches) > count:
        raise ValueError(f"{len(batches)} micro-batches do not fit into {count}")
    return [*batches, *([] for _ in range(count - len(batches)))]


def plan_ranks(lengths: Sequence[int], tokens_per_device: int, ranks: int) -> list[list[Indices]]:
    """Micro-batches [rank][micro-batch][index], as many on each rank, at least one; some may be empty."""
    plans: list[list[Indices]] = []
    for hand in assign_to_ranks(lengths, ranks):
        own_lengths = [lengths[i] for i in hand]
        plan = plan_micro_batches(own_lengths, tokens_per_device)  # of positions in the hand
        plans.append([[hand[i] for i in batch] for batch in plan])
    count = max(1, *map(len, plans))
    return [pad_to(plan, count) for plan in plans]


def split_evenly(prompts: int, parts: int) -> list[range]:
    """Split `prompts` into `parts` runs of neighbors whose sizes differ by at most one.

    >>> split_evenly(5, 2)
    [range(0, 2), range(2, 5)]
    """
    if not 1 <= parts <= prompts:
        raise ValueError(f"{prompts} prompts cannot be split into {parts} minibatches")
    return [range(prompts * part // parts, prompts * (part + 1) // parts) for part in range(parts)]


@dataclass(frozen=True)
class Batch:
    """A micro-batch, and where its completion tokens are.

    `input_ids[rows[i], columns[i]]` is the i-th completion token, in order of sequence, then
    position; the model predicts it at column `columns[i] - 1`. These positions, never the id of a
    token, tell padding from text. Under a causal mask no token sees the padding to its right, so
    there is no attention mask.
    """

    input_ids: Tensor
    """[B, T] long, right-padded."""
    rows: Tensor
    """[N] long."""
    columns: Tensor
    """[N] long."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        return Batch(self.input_ids.to(device), self.rows.to(device), self.columns.to(device))


def collate(sequences: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Batch:
    """(prompt ids, completion ids) of each sequence -> one right-padded batch on the CPU.

    An empty micro-batch becomes one row without completion tokens: a forward and backward pass run,
    as every rank must run one, and the gradient is 0. Raises ValueError for an empty prompt, whose
    first completion token nothing would predict.
    """
    pairs = list(sequences) or [([PADDING], [])]
    if not all(len(prompt) for prompt, _ in pairs):
        raise ValueError("every sequence needs at least one prompt token")
    longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
    input_ids = torch.full((len(pairs), longest), PADDING)
    spans = []
    for row, (prompt, completion) in enumerate(pairs):
        start, end = len(prompt), len(prompt) + len(completion)
        input_ids[row, :end] = torch.tensor([*prompt, *completion])
        spans.append(torch.arange(start, end))
    rows = torch.repeat_interleave(torch.tensor([len(span) for span in spans]))
    return Batch(input_ids, rows, torch.cat(spans))


def _longest_first(lengths: Sequence[int]) -> Indices:
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])  # stable: ties stay in order


def _check(lengths: Sequence[int], tokens_per_device: int) -> None:
    if tokens_per_device < 1:
        raise ValueError(f"tokens_per_device must be 1 or more, got {tokens_per_device}")
    if min(lengths, default=1) < 1:
        raise ValueError(f"every sequence needs at least one token, got lengths {list(lengths)}")
