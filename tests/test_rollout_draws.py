"""The counter-based uniforms and the inverse-CDF draw."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from budgetrl.rollout.draws import draw, uniforms

MASK = 2**64 - 1


def splitmix(z: int) -> int:
    """The finaliser in Python's unbounded integers, as published."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6))
def test_uniform_follows_the_published_mixer_on_all_64_bits(seed: int, position: int) -> None:
    bits = splitmix((splitmix(seed & MASK) + (position + 1) * 0x9E3779B97F4A7C15) & MASK) >> 41
    assert uniforms(torch.tensor([seed]), position).item() == (bits + 0.5) / 2**23


def test_uniforms_are_the_same_alone_in_a_batch_and_in_a_table() -> None:
    seeds = torch.tensor([5, 2**62, -7])
    table = uniforms(seeds, torch.arange(4)[:, None])
    assert table.shape == (4, 3) and table.dtype == torch.float32
    for position in range(4):
        assert torch.equal(uniforms(seeds, position), table[position])
        assert torch.equal(uniforms(seeds[1:2], position), table[position, 1:2])


@pytest.fixture(scope="module")
def grid() -> Tensor:
    """[256 positions, 1024 neighboring seeds]"""
    return uniforms(torch.arange(1024), torch.arange(256)[:, None])


def test_uniforms_are_uniform(grid: Tensor) -> None:
    assert grid.min() > 0 and grid.max() < 1
    counts = torch.histc(grid, bins=64, min=0, max=1)
    expected = grid.numel() / 64
    assert 30 < ((counts - expected) ** 2 / expected).sum() < 110  # chi-square with 63 degrees of freedom


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (1, 1), (7, 0), (0, 64)])
def test_neighboring_positions_and_seeds_are_independent(grid: Tensor, shift: tuple[int, int]) -> None:
    other = grid.roll(shift, dims=(0, 1))
    correlation = torch.corrcoef(torch.stack((grid.flatten(), other.flatten())))[0, 1]
    assert abs(correlation) < 0.01  # five standard errors
    pairs = torch.histogramdd(torch.stack((grid.flatten(), other.flatten()), 1), bins=8).hist
    expected = grid.numel() / 64
    assert 30 < ((pairs - expected) ** 2 / expected).sum() < 110


def test_draw_inverts_the_cdf() -> None:
    logits = torch.tensor([0.5, 0.2, 0.0, 0.3]).log().expand(6, -1)
    ids, logprobs = draw(logits, torch.tensor([0.001, 0.49, 0.51, 0.69, 0.71, 0.999]), 1.0)
    assert ids.tolist() == [0, 0, 1, 1, 3, 3]
    assert torch.allclose(logprobs, logits[0][ids], atol=1e-6)
    ids, _ = draw(torch.zeros(1, 2), torch.tensor([0.5]), 1.0)
    assert ids.tolist() == [1]  # an edge belongs to the token above it


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 2.5]))
def test_draw_gives_the_log_probability_under_the_tempered_softmax(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(5, 50, generator=generator)
    before = logits.clone()
    ids, logprobs = draw(logits, torch.rand(5, generator=generator), temperature)
    assert torch.equal(logits, before)
    reference = torch.log_softmax(logits / temperature, -1).gather(1, ids[:, None]).squeeze(1)
    assert torch.allclose(logprobs, reference, atol=1e-5)


def test_greedy_takes_the_argmax_and_its_untempered_log_probability() -> None:
    logits = torch.randn(20, 30)
    ids, logprobs = draw(logits, torch.rand(20), 0.0)
    assert torch.equal(ids, logits.argmax(-1))
    assert torch.allclose(logprobs, torch.log_softmax(logits, -1).amax(-1), atol=1e-6)


@given(st.integers(0, 2**31), st.sampled_from([7, 5000]))
def test_a_token_without_probability_is_never_drawn(seed: int, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, vocabulary, generator=generator)
    logits[torch.rand(logits.shape, generator=generator) < 0.7] = -torch.inf
    logits[:, vocabulary // 2] = 0.0
    logits[0, -1] = logits[1, 0] = -torch.inf
    for edge in (0.5 * 2.0**-23, 0.5, 1 - 2.0**-24):
        ids, logprobs = draw(logits, torch.full((4,), edge), 1.0)
        assert logprobs.isfinite().all() and logits.gather(1, ids[:, None]).isfinite().all()


def test_drawn_frequencies_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -4.0])
    count = 200_000
    noise = uniforms(torch.arange(count), 3)
    for temperature in (0.7, 1.0):
        ids, _ = draw(logits.expand(count, -1), noise, temperature)
        shares = torch.bincount(ids, minlength=5) / count
        assert torch.allclose(shares, torch.softmax(logits / temperature, 0), atol=0.005)
