"""Counter-based sampling: the uniform that draws a token is a pure function of a seed and a position.

No generator state, so a completion does not depend on which batch, rank or device wrote it.
"""

import torch
from torch import Tensor

# The constants of splitmix64 (Steele, Lea, Flood 2014), as the signed integers that torch's int64 holds.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64

_BITS = 23
"""Bits of a uniform: with the half step that keeps 0 and 1 out, the most that float32 holds exactly."""


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
    """The finaliser of splitmix64: a bijection of 64 bits; each input bit can change every output bit."""
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """A right shift that fills with zeros; torch's own copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a token a row by inverse CDF: (ids [B] int64, log-probabilities [B] float32).

    `logits` [B, V], `uniforms` [B]. The log-probability is under the distribution drawn from; at
    temperature 0 the token is the argmax and its log-probability that of the untempered distribution.
    A token of zero probability is never drawn.

    Float32 is enough at any vocabulary: a rounding error moves the edges between tokens by some 1e-7,
    as much as the same logits differ between two batch shapes.
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
    """The first token whose cumulative weight exceeds `target` [B, 1].

    A parallel scan on a GPU may round to a sum that falls by one ulp, and the search then end on a
    token without weight; such a row takes its `best` token.
    """
    ids = torch.searchsorted(cdf, target, right=True).clamp_(max=cdf.shape[1] - 1)
    return torch.where(weights.gather(1, ids) > 0, ids, best)
