"""The key-value cache of a batch: filled in place, grown when full, packed when rows end."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROOM = 256
"""Columns for new tokens to start with."""

GROWTH = 1.5
"""Factor of growth when full. Most completions end long before the token limit, so memory follows need."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What one column of the cache holds: `heads` vectors of `size` numbers, twice, in each of `layers`."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device


class Cache:
    """Keys and values, [rows, heads, columns, size] a layer.

    A row's prompt is padded on the left, so that all prompts end, and all new tokens go on, at the same
    column. `lengths` are the prompts' lengths a row, `limit` the most new tokens a row will get.
    """

    def __init__(self, layout: Layout, lengths: Sequence[int], limit: int) -> None:
        longest = max(lengths)
        self._layout = layout
        self._rows = len(lengths)
        self._used = longest
        """Columns that hold something; the next token of every row gets the one after them."""
        self._limit = longest + limit
        """The most columns that can ever be needed."""
        self._columns = min(self._limit, longest + ROOM)
        """Columns that there is memory for."""
        self._starts = longest - torch.tensor(lengths).to(layout.device)
        """The column of each row's first token; padding lies before it."""
        self._keys = [self._blank() for _ in range(layout.layers)]
        self._values = [self._blank() for _ in range(layout.layers)]
        self._bias = self._padding_bias() if min(lengths) < max(lengths) else None

    def _blank(self) -> Tensor:
        """Zeros, because the bias can hide a row's padding but not a NaN in it."""
        layout = self._layout
        shape = (self._rows, layout.heads, self._columns, layout.size)
        return torch.zeros(shape, dtype=layout.dtype, device=layout.device)

    def _padding_bias(self) -> Tensor:
        """[rows, 1, 1, columns], added to attention scores: hides each row's padding.

        The most negative finite number, not infinity: some kernels meet a block of padding alone.
        """
        layout = self._layout
        hidden = torch.arange(self._columns, device=layout.device) < self._starts[:, None]
        bias = torch.zeros(hidden.shape, dtype=layout.dtype, device=layout.device)
        return bias.masked_fill_(hidden, torch.finfo(layout.dtype).min)[:, None, None]

    def source(self, first: int, owners: Tensor, lengths: Tensor, width: int) -> "Source":
        """How rows from `first` on are filled with prompts padded on the right.

        Row first + i takes prompt `owners[i]` of a set with `lengths` [n], padded to `width` tokens. In the cache the
        padding is on the left, so a row's tokens move right by what its prompt is shorter than `width`.
        """
        shift = (width - lengths)[owners, None]
        columns = torch.arange(width, device=owners.device) - shift
        return Source(slice(first, first + len(owners)), owners[:, None], columns.clamp_(min=0))

    def fill(self, layer: int, source: "Source", keys: Tensor, values: Tensor) -> None:
        """Store the prompts' `keys` and `values` [n, m, heads, size]; what lands in the padding is hidden."""
        end = self._used
        begin = end - source.columns.shape[1]
        self._keys[layer][source.rows, :, begin:end] = keys[source.owners, source.columns].transpose(1, 2)
        self._values[layer][source.rows, :, begin:end] = values[source.owners, source.columns].transpose(1, 2)

    def advance(self) -> tuple[Tensor, Tensor | None]:
        """Open the column of the next token: its position in each row [rows], and the attention bias.

        The bias is [rows, 1, 1, columns so far], or None where no row has padding.
        """
        if self._used == self._columns:
            self._grow()
        self._used += 1
        positions = self._used - 1 - self._starts
        bias = None if self._bias is None else self._bias[..., : self._used]
        return positions, bias

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store `keys` and `values` [rows, heads, size] in the open column; returns all columns so far."""
        return self._put(self._keys[layer], keys), self._put(self._values[layer], values)

    def _put(self, store: Tensor, new: Tensor) -> Tensor:
        store.select(2, self._used - 1).copy_(new)
        return store.narrow(2, 0, self._used)

    def pack(self, order: Tensor) -> None:
        """Keep as many rows as `order` names: row i becomes what row `order[i]` was.

        Rows that stay where they are cost nothing; a row may only take the place of one that is dropped.
        """
        rows = len(order)
        moved = (order != torch.arange(rows, device=order.device)).nonzero().squeeze(1)
        for stores in (self._keys, self._values):
            for layer, store in enumerate(stores):
                used = store[:, :, : self._used]
                used.index_copy_(0, moved, used.index_select(0, order[moved]))
                stores[layer] = store[:rows]
        self._rows = rows
        self._starts = self._starts[order]
        if self._bias is not None:
            self._bias = self._bias[order]

    def _grow(self) -> None:
        self._columns = min(self._limit, int(self._columns * GROWTH))
        for stores in (self._keys, self._values):
            for layer, old in enumerate(stores):
                larger = self._blank()
                larger[:, :, : self._used] = old[:, :, : self._used]
                stores[layer] = larger
        if self._bias is not None:
            self._bias = self._padding_bias()


@dataclass(frozen=True, slots=True)
class Source:
    """Which prompts (`owners` [r, 1]) and which of their tokens (`columns` [r, m]) fill the rows `rows`."""

    rows: slice
    owners: Tensor
    columns: Tensor
