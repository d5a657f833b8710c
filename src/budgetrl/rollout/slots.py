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

import torch
from torch import Tensor

MIN_ROOM = 256
"""Minimum number of free columns after the window moves. Most completions end before they need more."""

SPAN_COST = 1024
"""Overhead of an attention call, in tokens whose keys and values are read in the same time (measured on a CPU)."""

MAX_SPANS = 8
"""Maximum number of attention calls per layer."""

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

    rows: slice
    first: int
    """The clock of the window's first column."""
    bias: Tensor | None
    """[rows, 1, 1, window], added to attention scores to hide padding; None if no row has any."""


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
        self._bounds: list[tuple[int, int, int, bool]] = []
        """First and last row of each span, its first column, and whether it has padding to hide."""
        self._bounds_rows = -1
        """Number of rows that `_bounds` covers; -1 if it is out of date."""
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
        """Move row `origins[i]` to row `targets[i]`. Origins that are not also targets are free afterwards."""
        if not origins:
            return
        device = self.layout.device
        begin = min(self._starts[origin] for origin in origins) - self._base
        end = self.clock - self._base
        source, destination = torch.tensor(origins, device=device), torch.tensor(targets, device=device)
        for store in (*self._keys, *self._values):
            # The right side is copied before it is written, so a row may be both an origin and a target.
            store[destination, :, begin:end] = store[source, :, begin:end]
        starts = [self._starts[origin] for origin in origins]
        for origin in origins:
            self._starts[origin] = FREE
        for target, start in zip(targets, starts, strict=True):
            self._starts[target] = start
        self._update_rows(sorted({*origins, *targets}))

    def advance(self, rows: int) -> tuple[Tensor, list[Span]]:
        """Advance the clock by one column, for the first `rows` rows.

        Returns the position of each row's new token [rows], and the spans of the attention calls.
        """
        if self.clock - self._base == self.columns:
            self._move_window()
        if self._bounds_rows != rows:
            self._bounds, self._bounds_rows = self._choose_bounds(rows), rows
        positions = self.clock - self._starts_on_device[:rows]
        self.clock += 1
        spans: list[Span] = []
        for begin, end, first, is_padded in self._bounds:
            bias = None
            if is_padded:
                bias = self._bias[begin:end, None, None, first - self._base : self.clock - self._base]
            spans.append(Span(slice(begin, end), first, bias))
        return positions, spans

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store `keys` and `values` [rows, heads, size] of the new tokens. Call after `advance`."""
        column = self.clock - self._base - 1
        self._keys[layer][: len(keys)].select(2, column).copy_(keys)
        self._values[layer][: len(values)].select(2, column).copy_(values)

    def window(self, layer: int, span: Span) -> tuple[Tensor, Tensor]:
        """Return the keys and values [rows, heads, window, size] of a span."""
        columns = slice(span.first - self._base, self.clock - self._base)
        return self._keys[layer][span.rows, :, columns], self._values[layer][span.rows, :, columns]

    def _choose_bounds(self, rows: int) -> list[tuple[int, int, int, bool]]:
        """Split the rows into 1, 2, 4 or 8 spans of equal size, whichever makes attention cheapest.

        In a span, every row reads as many columns as the longest one. More spans read less padding, but add calls.
        """
        best: list[tuple[int, int, int, bool]] = []
        best_cost = math.inf
        count = 1
        while count <= min(MAX_SPANS, rows):
            bounds: list[tuple[int, int, int, bool]] = []
            cost = count * SPAN_COST
            for part in range(count):
                begin, end = rows * part // count, rows * (part + 1) // count
                starts = self._starts[begin:end]
                first = min(*starts, self.clock)
                is_padded = any(start not in (first, FREE) for start in starts)
                bounds.append((begin, end, first, is_padded))
                cost += (end - begin) * (self.clock - first)
            if cost < best_cost:
                best, best_cost = bounds, cost
            count *= 2
        return best

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
        self._bounds_rows = -1
        layout = self.layout
        index = torch.tensor(list(rows), device=layout.device)
        # A free row is computed as if its sequence started now. The result is not used, but must not be NaN.
        current = [min(self._starts[row], self.clock) for row in rows]
        starts = torch.tensor(current, device=layout.device)
        self._starts_on_device[index] = starts
        hidden = torch.arange(self._base, self._base + self.columns, device=layout.device) < starts[:, None]
        bias = torch.zeros(hidden.shape, dtype=layout.dtype, device=layout.device)
        self._bias[index] = bias.masked_fill_(hidden, torch.finfo(layout.dtype).min)
