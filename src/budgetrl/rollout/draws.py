"""Counter-based sampling: the uniform that draws a token is a pure function of a seed and a position.

No generator state, so a completion does not depend on which batch, rank or device wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from budgetrl.core.records import Sampling

# The constants of splitmix64 (Steele, Lea, Flood 2014), as the signed integers that torch's int64 holds.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64

_BITS = 23
"""Bits of a uniform: with the half step that keeps 0 and 1 out, the most that float32 holds exactly."""

BLOCK = 32
"""Number of steps per block. Computing uniforms takes sixteen tiny operations, too many for each single step."""


def uniforms(seeds: Tensor, position: int | Tensor) -> Tensor:
    """Uniforms in (0, 1), float32, one per pair of a seed and a position.

    `seeds` is int64 of any shape; `position` (how many tokens were drawn before) is an integer or an
    int64 tensor that broadcasts against it: `uniforms(seeds, torch.arange(n)[:, None])` is [n, B].
    The seed is mixed before the position joins it, so neighboring seeds share no stream.
    """
    counter = (torch.as_tensor(position, device=seeds.device) + 1) * _GOLDEN
    bits = _mix(_mix(seeds) + counter)
    return (_shift(bits, 64 - _BITS).float() + 0.5) * 2.0**-_BITS


def _mix(z: Tensor) -> Tensor:
    """The finalizer of splitmix64: a bijection of 64 bits; each input bit can change every output bit."""
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """A right shift that fills with zeros; torch's own copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


class Noise:
    """Uniforms for rows at different positions, computed for a block of steps at a time."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._seeds = torch.zeros(rows, dtype=torch.int64, device=device)
        self._positions = torch.zeros(rows, dtype=torch.int64, device=device)
        """The position of each row's token at step 0 of the block; negative if the row joined later."""
        self._steps = torch.arange(BLOCK, device=device)[:, None]
        self._block = uniforms(self._seeds, self._positions + self._steps)
        """[BLOCK, rows]"""
        self._used = 0

    def set_rows(self, rows: Sequence[int], seeds: Sequence[int], positions: Sequence[int]) -> None:
        """Set the seed of each of these rows, and the position of its next token."""
        device = self._seeds.device
        index = torch.tensor(rows, device=device)
        self._seeds[index] = torch.tensor(seeds, device=device)
        self._positions[index] = torch.tensor(positions, device=device) - self._used
        self._block[:, index] = uniforms(self._seeds[index], self._positions[index] + self._steps)

    def move_rows(self, origins: Sequence[int], targets: Sequence[int]) -> None:
        """Move row `origins[i]` to row `targets[i]`."""
        source = torch.tensor(origins, device=self._seeds.device)
        destination = torch.tensor(targets, device=self._seeds.device)
        self._seeds[destination] = self._seeds[source]
        self._positions[destination] = self._positions[source]
        self._block[:, destination] = self._block[:, source]

    def take(self, rows: int) -> Tensor:
        """Return the uniforms [rows] for the next token of the first `rows` rows."""
        if self._used == BLOCK:
            self._positions += BLOCK
            self._block = uniforms(self._seeds, self._positions + self._steps)
            self._used = 0
        self._used += 1
        return self._block.select(0, self._used - 1).narrow(0, 0, rows)


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Sample one token per row by inverse CDF. Returns ids [B] int64 and log-probabilities [B] float32.

    `logits` are [B, V], `uniforms` [B]. The log-probability is that of the distribution the token was sampled from. At
    temperature 0 the token is the argmax, and its log-probability is the one at temperature 1. A token of probability
    zero is never sampled.

    Float32 is enough for any vocabulary: rounding moves the edges between tokens by about 1e-7, which is as much as the
    logits of the same text differ between two batch shapes.
    """
    scaled = logits.float()
    if temperature not in (0.0, 1.0):
        scaled = scaled / temperature
    top, best = scaled.max(dim=-1, keepdim=True)
    cdf = (weights := (scaled - top).exp_()).cumsum(dim=-1)
    total = cdf[:, -1:]
    ids = best if temperature == 0 else _invert(cdf, weights, uniforms[:, None] * total, best)
    return ids.squeeze(1), (scaled.gather(1, ids) - top - total.log()).squeeze(1)


def _invert(cdf: Tensor, weights: Tensor, target: Tensor, best: Tensor) -> Tensor:
    """Return the first token whose cumulative weight exceeds `target` [B, 1].

    On a GPU, rounding in the parallel scan may make the cumulative sum decrease by one ulp, so the search may end at a
    token of weight zero. Such a row gets its `best` token.
    """
    ids = torch.searchsorted(cdf, target, right=True).clamp_(max=cdf.shape[1] - 1)
    return torch.where(weights.gather(1, ids) > 0, ids, best)


@dataclass(frozen=True)
class Distributions:
    """Sampling settings per row, [B, 1] each, for batches in which rows differ or use filters such as top-p."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    penalty: Tensor

    @classmethod
    def of(cls, samplings: Sequence[Sampling], vocabulary: int, device: torch.device) -> "Distributions":
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=device)[:, None]

        return cls(
            temperature=column([sampling.temperature for sampling in samplings]),
            top_k=column([sampling.top_k or vocabulary for sampling in samplings]),
            top_p=column([sampling.top_p for sampling in samplings]),
            min_p=column([sampling.min_p for sampling in samplings]),
            penalty=column([sampling.repetition_penalty for sampling in samplings]),
        )


def draw_from(logits: Tensor, uniforms: Tensor, rows: Distributions, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sample like `draw`, with settings for each row. `seen` [B, V] marks the tokens that the penalty applies to.

    The order is that of transformers: penalty, temperature, top-k, top-p, min-p.
    """
    scaled = logits.float()
    if seen is not None:
        penalized = torch.where(scaled > 0, scaled / rows.penalty, scaled * rows.penalty)
        scaled = torch.where(seen, penalized, scaled)
    greedy = rows.temperature == 0
    scaled = scaled / torch.where(greedy, 1.0, rows.temperature)
    ordered, order = scaled.sort(dim=-1, descending=True)
    dropped = torch.arange(scaled.shape[1], device=scaled.device) >= rows.top_k
    weights = torch.softmax(ordered.masked_fill(dropped, -torch.inf), dim=-1)
    # The most likely token always stays: nothing comes before it, and it is its own maximum.
    before = weights.cumsum(dim=-1) - weights
    dropped |= (before >= rows.top_p) & (before > 0)
    dropped |= weights < rows.min_p * weights[:, :1]
    kept = scaled.masked_fill(torch.zeros_like(dropped).scatter_(1, order, dropped), -torch.inf)
    drawn, drawn_logprobs = draw(kept, uniforms, 1.0)
    best, best_logprobs = draw(scaled, uniforms, 0.0)
    is_greedy = greedy.squeeze(1)
    return torch.where(is_greedy, best, drawn), torch.where(is_greedy, best_logprobs, drawn_logprobs)
