"""The key-value cache of sequences that join and leave a running batch.

All sequences are aligned at their ends: the next token of every one of them goes into the same column, so that a step
writes one contiguous column. A sequence that joins is copied in to the left of that column, one that is rolled back
moves to the right, and one that leaves frees its row. Attention reads neighboring rows of similar lengths together.

    row 0   . . . a a a a a a |          `.` padding, hidden by the attention bias
    row 1   . . . . . . b b b |          `|` the open column, which the next token of every row fills
    row 2   . c c c c c c c c |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_ROOM = 256
"""Minimum number of free columns after the window moves. Most completions end before they need more."""

SPAN_COST = 1024
"""Overhead of an attention call, in tokens whose keys and values are read in the same time (measured on a CPU)."""

ROWS_PER_MOVE = 32
"""Rows that are copied together when rows move. Each such group copies only as many columns as its longest row."""

FREE = 2**62
"""Start of a row without a sequence. Larger than any clock."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of one token's keys and values: `heads` vectors of `size` numbers each, in each of `layers`."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Parked:
    """The keys and values of one sequence outside the batch: [layers, heads, tokens, size] each."""

    keys: Tensor
    values: Tensor

    @property
    def tokens(self) -> int:
        return self.keys.shape[2]


@dataclass(frozen=True, slots=True)
class Span:
    """Neighboring rows that share one attention call over one window of columns."""

    begin: int
    end: int
    """The row after the last one."""
    first: int
    """The first column of the window."""
    keys: Sequence[Tensor]
    """The rows' keys in each layer, [rows, heads, columns, size]."""
    values: Sequence[Tensor]
    bias: Tensor | None
    """[rows, 1, 1, columns], added to attention scores to hide padding; None if no row has any."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which prompt (`owners` [r, 1]) and which of its tokens (`tokens` [r, m]) fill each of `rows` [r]."""

    rows: Tensor
    owners: Tensor
    tokens: Tensor


class SlotCache:
    """Keys and values of up to `slots` sequences, [slots, heads, columns, size] in each layer.

    Columns are numbered by a clock that only increases; the next token of every row goes into column `clock`. Only a
    window of columns is in memory. It moves along, and grows or shrinks with the longest sequence.
    """

    def __init__(self, layout: Layout, slots: int) -> None:
        self.layout = layout
        self.slots = slots
        self.clock = 0
        self._base = 0
        """The clock of the first column in memory."""
        self.columns = 0
        """Number of columns in memory."""
        self._starts = [FREE] * slots
        """The column of each row's first token. The columns before it are padding."""
        self._starts_on_device = torch.zeros(slots, dtype=torch.int64, device=layout.device)
        self._spans: list[Span] = []
        self._rows = -1
        """Number of rows that `_spans` covers; -1 if it is out of date."""
        self._active_keys: list[Tensor] = []
        """The keys of these rows in each layer, [rows, heads, columns, size]."""
        self._active_values: list[Tensor] = []
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._bias = torch.empty(0)

    def length(self, row: int) -> int:
        """Return the number of tokens in a row."""
        return self.clock - self._starts[row]

    def occupy(self, rows: Sequence[int], lengths: Sequence[int]) -> None:
        """Reserve free rows for sequences of these lengths. `fill` or `restore` must write them next."""
        for row, length in zip(rows, lengths, strict=True):
            self._starts[row] = self.clock - length
        if self.columns == 0 or min(self._starts) < self._base:
            self._move_window()
        else:
            self._update_rows(rows)

    def source(self, rows: Sequence[int], owners: Sequence[int], lengths: Tensor, width: int) -> Source:
        """Return how to fill `rows` from prompts that are padded on the right to `width` tokens.

        Row i gets prompt `owners[i]` out of prompts with `lengths` [n]. The cache has its padding on the left, so a
        prompt's tokens move right by the amount of its padding.
        """
        device = self.layout.device
        owner = torch.tensor(owners, device=device)
        shift = (width - lengths)[owner, None]
        tokens = torch.arange(width, device=device) - shift
        return Source(torch.tensor(rows, device=device), owner[:, None], tokens.clamp_(min=0))

    def fill(self, layer: int, source: Source, keys: Tensor, values: Tensor) -> None:
        """Store the `keys` and `values` [n, m, heads, size] of prompts in rows that `occupy` reserved."""
        end = self.clock - self._base
        # The padded width may be more than the window holds. What is cut off then is padding only.
        width = min(source.tokens.shape[1], end)
        tokens = source.tokens[:, source.tokens.shape[1] - width :]
        for store, new in ((self._keys[layer], keys), (self._values[layer], values)):
            store[source.rows, :, end - width : end] = new[source.owners, tokens].transpose(1, 2)

    def park(self, row: int) -> Parked:
        """Return a copy of a row's keys and values, which `restore` can write into any free row."""
        begin, end = self._starts[row] - self._base, self.clock - self._base
        keys = torch.stack([store[row, :, begin:end] for store in self._keys])
        values = torch.stack([store[row, :, begin:end] for store in self._values])
        return Parked(keys, values)

    def restore(self, row: int, parked: Parked) -> None:
        """Write the first tokens of a parked sequence into a row that `occupy` reserved, as many as it has room for."""
        begin, end = self._starts[row] - self._base, self.clock - self._base
        for layer in range(self.layout.layers):
            self._keys[layer][row, :, begin:end] = parked.keys[layer, :, : end - begin]
            self._values[layer][row, :, begin:end] = parked.values[layer, :, : end - begin]

    def truncate(self, row: int, length: int) -> None:
        """Roll a row back to its first `length` tokens. They move right, to end at the current column again."""
        if length == self.length(row):
            return
        begin, end = self._starts[row] - self._base, self.clock - self._base
        for store in (*self._keys, *self._values):
            # `clone`, because source and destination may overlap.
            store[row, :, end - length : end] = store[row, :, begin : begin + length].clone()
        self._starts[row] = self.clock - length
        self._update_rows([row])

    def free(self, rows: Sequence[int]) -> None:
        """Mark rows as free. A step may still compute them; the result is not used."""
        for row in rows:
            self._starts[row] = FREE
        self._update_rows(rows)

    def move_rows(self, origins: Sequence[int], targets: Sequence[int]) -> None:
        """Move row `origins[i]` to row `targets[i]`. Origins that are not also targets are free afterwards.

        Rows move in this order, so a target must not be the origin of a later move.
        """
        for start in range(0, len(origins), ROWS_PER_MOVE):
            self._copy_rows(origins[start : start + ROWS_PER_MOVE], targets[start : start + ROWS_PER_MOVE])
        starts = [self._starts[origin] for origin in origins]
        for origin in origins:
            self._starts[origin] = FREE
        for target, start in zip(targets, starts, strict=True):
            self._starts[target] = start
        self._update_rows(sorted({*origins, *targets}))

    def _copy_rows(self, origins: Sequence[int], targets: Sequence[int]) -> None:
        begin = min(self._starts[origin] for origin in origins) - self._base
        end = self.clock - self._base
        source = torch.tensor(origins, device=self.layout.device)
        destination = torch.tensor(targets, device=self.layout.device)
        for store in (*self._keys, *self._values):
            # The right side is copied before it is written, so a row may be both an origin and a target.
            store[destination, :, begin:end] = store[source, :, begin:end]

    def advance(self, rows: int) -> Tensor:
        """Advance the clock by one column. Returns the positions [rows] of the first rows' new tokens."""
        if self.clock - self._base == self.columns:
            self._move_window()
        if self._rows != rows:
            self._rows = rows
            self._active_keys = [store[:rows] for store in self._keys]
            self._active_values = [store[:rows] for store in self._values]
            self._spans = self._choose_spans(rows)
        positions = self.clock - self._starts_on_device.narrow(0, 0, rows)
        self.clock += 1
        return positions

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store the new tokens' `keys` and `values` [rows, heads, size], and return the output of attention.

        Queries and output are [rows, heads, n, size], where n queries share a key head. Call after `advance`.
        """
        end = self.clock - self._base
        self._active_keys[layer].select(2, end - 1).copy_(keys)
        self._active_values[layer].select(2, end - 1).copy_(values)
        outputs: list[Tensor] = []
        for span in self._spans:
            begin = span.first - self._base
            outputs.append(
                F.scaled_dot_product_attention(
                    queries.narrow(0, span.begin, span.end - span.begin),
                    span.keys[layer].narrow(2, begin, end - begin),
                    span.values[layer].narrow(2, begin, end - begin),
                    attn_mask=None if span.bias is None else span.bias.narrow(3, begin, end - begin),
                )
            )
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _choose_spans(self, rows: int) -> list[Span]:
        """Split the rows into 1, 2, 4 or 8 spans of equal size, whichever makes attention cheapest.

        In a span, every row reads as many columns as the longest one. More spans read less padding, but add calls.
        """
        best_cost, best_count = math.inf, 1
        for count in (1, 2, 4, 8):
            cost = count * SPAN_COST
            for begin, end in _equal_parts(rows, count):
                cost += (end - begin) * (self.clock - self._first(begin, end))
            if cost < best_cost:
                best_cost, best_count = cost, count
        spans: list[Span] = []
        for begin, end in _equal_parts(rows, best_count):
            first = self._first(begin, end)
            is_padded = any(start not in (first, FREE) for start in self._starts[begin:end])
            spans.append(
                Span(
                    begin=begin,
                    end=end,
                    first=first,
                    keys=[store[begin:end] for store in self._keys],
                    values=[store[begin:end] for store in self._values],
                    bias=self._bias[begin:end, None, None] if is_padded else None,
                )
            )
        return spans

    def _first(self, begin: int, end: int) -> int:
        """Return the first column that rows `begin` to `end` - 1 need."""
        return min(self.clock, *self._starts[begin:end])

    def _move_window(self) -> None:
        """Copy the columns in use to a new window with free columns after them."""
        first = min(*self._starts, self.clock)
        live = self.clock - first
        kept = max(0, self.clock - max(first, self._base))  # columns in use that the old window holds
        columns = live + max(MIN_ROOM, live // 2)
        old_end = self.clock - self._base
        for stores in (self._keys, self._values):
            for layer in range(self.layout.layers):
                new = self._blank(columns)
                if layer < len(stores):
                    new[:, :, live - kept : live] = stores[layer][:, :, old_end - kept : old_end]
                    stores[layer] = new
                else:
                    stores.append(new)
        self._base, self.columns = first, columns
        self._bias = torch.zeros(self.slots, columns, dtype=self.layout.dtype, device=self.layout.device)
        self._update_rows(range(self.slots))

    def _blank(self, columns: int) -> Tensor:
        """Return zeros: uninitialized memory may hold NaN, which the bias cannot hide (NaN + bias is NaN)."""
        layout = self.layout
        shape = (self.slots, layout.heads, columns, layout.size)
        return torch.zeros(shape, dtype=layout.dtype, device=layout.device)

    def _update_rows(self, rows: Sequence[int]) -> None:
        """Update the starts on the device and the attention bias of these rows.

        The bias is the most negative finite number, not -inf: where a kernel reads a block of nothing but padding, -inf
        would give NaN.
        """
        self._rows = -1
        layout = self.layout
        index = torch.tensor(list(rows), device=layout.device)
        # A free row is computed as if its sequence started now. The result is not used, but must not be NaN.
        current = [min(self._starts[row], self.clock) for row in rows]
        starts = torch.tensor(current, device=layout.device)
        self._starts_on_device[index] = starts
        hidden = torch.arange(self._base, self._base + self.columns, device=layout.device) < starts[:, None]
        bias = torch.zeros(hidden.shape, dtype=layout.dtype, device=layout.device)
        self._bias[index] = bias.masked_fill_(hidden, torch.finfo(layout.dtype).min)


def _equal_parts(rows: int, count: int) -> list[tuple[int, int]]:
    """Split `rows` rows into up to `count` parts that differ by at most one row: (first row, row after the last)."""
    bounds = [rows * part // count for part in range(count + 1)]
    return [(begin, end) for begin, end in pairwise(bounds) if begin < end]
