import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from budgetrl.settings.algorithm import (
    CORRECTIONS,
    LOSS_LEVELS,
    RATIO_LEVELS,
    SURROGATES,
    Algorithm,
    LossSettings,
    MismatchSettings,
)
from budgetrl.training.losses import (
    kl_penalty,
    loss_tally,
    mismatch_tally,
    mismatch_weights,
    per_token,
    policy_loss,
    policy_ratio,
    token_weights,
)
from budgetrl.training.tally import Tally


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss: Tensor, at: Tensor) -> list[float]:
    return torch.autograd.grad(loss, at, retain_graph=True)[0].tolist()


def loss_of(new: Tensor, old: Tensor, advantages: Tensor, how: LossSettings) -> Tensor:
    """At the level of tokens."""
    return policy_loss(new, policy_ratio(new, old, [len(new)], "token"), advantages, how)


RATIOS = (0.5, 0.9, 1.0, 1.1, 2.0)


@pytest.mark.parametrize(
    ("settings", "advantage", "losses", "slopes"),
    [
        # A good token is pushed up until 1.28, a bad one down until 0.8; pulls back to 1 are never clipped.
        ({}, 2.0, (-1.0, -1.8, -2.0, -2.2, -2.56), (-1.0, -1.8, -2.0, -2.2, 0.0)),
        ({}, -2.0, (1.6, 1.8, 2.0, 2.2, 4.0), (0.0, 1.8, 2.0, 2.2, 4.0)),
        ({}, 0.0, (0.0,) * 5, (0.0,) * 5),
        # The dual clip ends the push of a bad token that has become likelier, and leaves good ones alone.
        ({"dual_clip": 1.5}, -2.0, (1.6, 1.8, 2.0, 2.2, 3.0), (0.0, 1.8, 2.0, 2.2, 0.0)),
        ({"dual_clip": 1.5}, 2.0, (-1.0, -1.8, -2.0, -2.2, -2.56), (-1.0, -1.8, -2.0, -2.2, 0.0)),
        # The bounded ratio times -A, whatever the sign; the loss itself has log pi in it.
        ({"surrogate": "cispo"}, 2.0, None, (-1.6, -1.8, -2.0, -2.2, -2.56)),
        ({"surrogate": "cispo"}, -2.0, None, (1.6, 1.8, 2.0, 2.2, 2.56)),
        # tau = 2: -2 s(2 (r - 1)) A, whose slope is -4 s (1 - s) A r, with s(-1) = 0.268941, s(-0.2) = 0.450166.
        ({"surrogate": "sapo", "tau_positive": 2.0}, 1.0, (-0.537883, -0.900332, -1, -1.099668, -1.761594), None),
        ({"surrogate": "sapo", "tau_positive": 2.0}, 1.0, None, (-0.393224, -0.891060, -1, -1.089073, -0.839949)),
        ({"surrogate": "sapo", "tau_negative": 2.0}, -1.0, None, (0.393224, 0.891060, 1, 1.089073, 0.839949)),
    ],
)
def test_policy_loss_and_its_gradient_by_hand(
    settings: dict, advantage: float, losses: tuple[float, ...] | None, slopes: tuple[float, ...] | None
) -> None:
    old = tensor(-1.0, -2.0, -0.5, -3.0, -1.5)
    new = (old + tensor(*RATIOS).log()).requires_grad_()
    loss = loss_of(new, old, torch.full_like(old, advantage), LossSettings(clip_high=0.28, **settings))
    if losses is not None:
        assert loss.tolist() == pytest.approx(losses, abs=1e-6)
    if slopes is not None:
        assert gradient(loss.sum(), new) == pytest.approx(slopes, abs=1e-6)  # d ratio / d logprob = ratio


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("level", RATIO_LEVELS)
def test_on_policy_gradient_is_reinforce_whatever_the_surrogate(surrogate: str, level: str) -> None:
    new = tensor(-1.0, -2.0, -0.5).requires_grad_()
    how = LossSettings(surrogate=surrogate, ratio_level=level, clip_low=0.0, clip_high=0.0)
    ratio = policy_ratio(new, new, [1, 2], level)
    loss = policy_loss(new, ratio, tensor(3.0, -0.5, -0.5), how)
    assert gradient(loss.sum(), new) == pytest.approx([-3.0, 0.5, 0.5])


def test_a_sequences_ratio_is_the_geometric_mean() -> None:
    new = tensor(0.5, 2.0, 4.0).log().requires_grad_()
    ratio = policy_ratio(new, torch.zeros(3), [1, 2], "sequence")
    assert ratio.tolist() == pytest.approx([0.5, math.sqrt(8), math.sqrt(8)])
    assert gradient(ratio[2], new) == pytest.approx([0.0, math.sqrt(2), math.sqrt(2)])
    assert policy_ratio(new[:0], new[:0], [], "sequence").tolist() == []


@pytest.mark.parametrize(
    ("settings", "weights", "cut"),
    [
        ({"correction": "none"}, (1, 1, 1, 1), (0, 0, 0, 0)),
        ({"correction": "token_truncate"}, (0.25, 1, 2, 2), (0, 0, 0, 1)),
        ({"correction": "token_mask", "floor": 0.5}, (0, 1, 2, 0), (1, 0, 0, 1)),
        ({"correction": "sequence_truncate"}, (0.25, 2, 2, 2), (0, 1, 1, 1)),
        ({"correction": "sequence_mask"}, (0.25, 0, 0, 0), (0, 1, 1, 1)),
        ({"correction": "sequence_mask", "cap": 8.0}, (0.25, 8, 8, 8), (0, 0, 0, 0)),
    ],
)
def test_mismatch_weights_by_hand(settings: dict, weights: tuple[float, ...], cut: tuple[int, ...]) -> None:
    """A completion of one token with ratio 1/4, and one of three with ratios 1, 2 and 4: 8 together."""
    rollout = tensor(-1.0, -2.0, -3.0, -4.0)
    old = rollout + tensor(0.25, 1.0, 2.0 - 1e-9, 4.0 + 1e-9).log()  # next to the bounds, within them
    found = mismatch_weights(old, rollout, [1, 3], MismatchSettings(**settings))
    assert found[0].tolist() == pytest.approx(weights)
    assert found[1].tolist() == list(map(bool, cut))


def test_a_stray_token_does_not_make_the_loss_infinite() -> None:
    new = tensor(0.0).requires_grad_()
    loss = loss_of(new, tensor(-2000.0), tensor(-1.0), LossSettings())
    penalty = kl_penalty(new, tensor(2000.0), "k3")
    assert math.isfinite(loss.item())
    assert math.isfinite(penalty.item())


@pytest.mark.parametrize(("kind", "value"), [("k1", -0.2), ("k2", 0.02), ("k3", 0.021403)])
def test_kl_values(kind: str, value: float) -> None:
    assert kl_penalty(tensor(-1.0), tensor(-0.8), kind).item() == pytest.approx(value, abs=1e-6)


def expected_kl(logits: Tensor, ref: Tensor, kind: str) -> Tensor:
    """The expectation over tokens the policy draws; the trainer does not differentiate the drawing."""
    logp = logits.log_softmax(0)
    return (logp.exp().detach() * kl_penalty(logp, ref, kind)).sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p.exp() * (p - q)).sum()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=6))
def test_kl_estimators_in_expectation(pairs: list[tuple[float, float]]) -> None:
    """Exactly as `kl_penalty` documents, over every token of a small vocabulary."""
    logits = tensor(*(x for x, _ in pairs)).requires_grad_()
    ref = tensor(*(y for _, y in pairs)).log_softmax(0)
    policy = logits.log_softmax(0)
    reverse, forward = kl(policy, ref), kl(ref, policy)
    for kind in ("k1", "k3"):
        assert expected_kl(logits, ref, kind).item() == pytest.approx(reverse.item(), abs=1e-9)
    for kind in ("k2", "k3"):
        assert (kl_penalty(policy, ref, kind) >= 0).all()
    slopes = {kind: gradient(expected_kl(logits, ref, kind), logits) for kind in ("k1", "k2", "k3")}
    assert slopes["k1"] == pytest.approx([0.0] * len(pairs), abs=1e-9)
    assert slopes["k2"] == pytest.approx(gradient(reverse, logits), abs=1e-9)
    assert slopes["k3"] == pytest.approx(gradient(forward, logits), abs=1e-9)


def test_gradient_flows_into_the_policy_alone() -> None:
    new, other = tensor(-1.0).requires_grad_(), tensor(-1.1).requires_grad_()
    for surrogate in SURROGATES:
        loss = loss_of(new, other, tensor(1.0), LossSettings(surrogate=surrogate)) + kl_penalty(new, other, "k3")
        assert torch.autograd.grad(loss, other, allow_unused=True) == (None,)


def test_token_weights_by_hand() -> None:
    assert token_weights([2, 1, 5], "token", 9) == [1 / 8] * 3
    assert token_weights([2, 1, 5], "sequence", 9) == pytest.approx([1 / 6, 1 / 3, 1 / 15])
    assert token_weights([2, 1, 5], "constant", 9) == pytest.approx([1 / 27] * 3)
    assert per_token(token_weights([2, 1], "sequence", 9), [2, 1]).tolist() == [0.25, 0.25, 0.5]


def test_masked_completions_weigh_nothing_but_are_counted_where_completions_are() -> None:
    masked = [False, False, True]
    assert token_weights([2, 1, 5], "token", 9, masked) == pytest.approx([1 / 3, 1 / 3, 0])
    assert token_weights([2, 1, 5], "sequence", 9, masked) == pytest.approx([1 / 6, 1 / 3, 0])
    assert token_weights([2, 1, 5], "constant", 9, masked) == pytest.approx([1 / 27, 1 / 27, 0])
    assert {w for level in LOSS_LEVELS for w in token_weights([2, 5], level, 9, [True, True])} == {0.0}


@pytest.mark.parametrize("level", LOSS_LEVELS)
def test_token_weights_want_tokens_but_no_completions(level: str) -> None:
    assert token_weights([], level, 9) == []
    with pytest.raises(ValueError, match="at least one token"):
        token_weights([3, 0], level, 9)


def test_unknown_kinds_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match="k1, k2, k3"):
        kl_penalty(tensor(-1.0), tensor(-1.0), "k4")
    with pytest.raises(ValueError, match="token, sequence, constant"):
        token_weights([1], "prompt", 9)


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Lengths of completions, and those completions in micro-batches, some of them empty."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    order = draw(st.permutations(range(len(lengths))))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    return lengths, [list(order[a:b]) for a, b in pairwise(edges)]


algorithms = st.builds(
    Algorithm,
    loss=st.builds(
        LossSettings,
        surrogate=st.sampled_from(SURROGATES),
        ratio_level=st.sampled_from(RATIO_LEVELS),
        level=st.sampled_from(LOSS_LEVELS),
    ),
    mismatch=st.builds(MismatchSettings, correction=st.sampled_from(CORRECTIONS)),
)


@settings(deadline=None)
@given(splits(), algorithms, st.integers(0, 1000))
def test_any_micro_batch_split_gives_the_same_loss_and_gradient(
    split: tuple[list[int], list[list[int]]], algorithm: Algorithm, seed: int
) -> None:
    """The whole is summed completion by completion, the parts as micro-batches do it."""
    lengths, batches = split
    generator = torch.Generator().manual_seed(seed)
    new, old, ref, rollout = torch.randn(4, sum(lengths), generator=generator, dtype=torch.float64)
    new = new.requires_grad_()
    advantages = torch.randn(len(lengths), generator=generator).tolist()
    weights = token_weights(lengths, algorithm.loss.level, max_length=9)
    tokens = torch.arange(sum(lengths)).split(lengths)

    def share(batch: list[int]) -> Tensor:
        at = torch.cat([torch.empty(0, dtype=torch.long), *(tokens[i] for i in batch)])
        sizes = [lengths[i] for i in batch]
        ratio = policy_ratio(new[at], old[at], sizes, algorithm.loss.ratio_level)
        losses = policy_loss(new[at], ratio, per_token([advantages[i] for i in batch], sizes), algorithm.loss)
        losses = losses * mismatch_weights(old[at], rollout[at], sizes, algorithm.mismatch)[0]
        losses = losses + 0.1 * kl_penalty(new[at], ref[at], "k3")
        return (per_token([weights[i] for i in batch], sizes) * losses).sum()

    sums, means = zip(*(sum_and_mean(share([i]), weights[i], lengths[i]) for i in range(len(lengths))), strict=True)
    match algorithm.loss.level:
        case "token":
            whole = sum(sums) / sum(lengths)
        case "sequence":
            whole = sum(means) / len(lengths)
        case _:
            whole = sum(sums) / (9 * len(lengths))
    parts = [share(batch) for batch in batches]
    assert sum(part.item() for part in parts) == pytest.approx(whole.item(), abs=1e-5)
    found = torch.stack([torch.autograd.grad(part, new)[0] for part in parts]).sum(0)
    assert found.tolist() == pytest.approx(gradient(whole, new), abs=1e-5, rel=1e-5)


def sum_and_mean(weighted: Tensor, weight: float, length: int) -> tuple[Tensor, Tensor]:
    """Of a completion's loss per token, from their weighted sum."""
    return weighted / weight, weighted / weight / length


def test_loss_tally_by_hand() -> None:
    old = torch.zeros(4, dtype=torch.float64)
    new = tensor(0.5, 1.0, 1.5, 2.0).log()
    advantages = tensor(-1.0, -1.0, -1.0, 1.0)  # the clip acts on the first and the last
    means = loss_tally(new, old, new.exp(), advantages, LossSettings()).means()
    assert means["clip_fraction"] == 0.5
    assert means["ratio"] == pytest.approx(1.25)
    assert means["ratio_max"] == pytest.approx(2.0)
    expected = sum(r - 1 - math.log(r) for r in (0.5, 1.0, 1.5, 2.0)) / 4
    assert means["kl_old"] == pytest.approx(expected)


def test_mismatch_tally_by_hand() -> None:
    found = mismatch_tally(tensor(-1.0, -2.0), tensor(-1.5, -1.0), torch.tensor([True, False]))
    assert found == Tally(mismatch=1.5, mismatch_max=1.0, mismatch_cut=1, surprise=2.5)
    assert mismatch_tally(tensor(), tensor(), torch.tensor([], dtype=torch.bool)) == Tally()


@pytest.mark.parametrize(
    ("settings", "share"),
    [({}, 0.5), ({"dual_clip": 1.4}, 0.75), ({"surrogate": "cispo"}, 0.75), ({"surrogate": "sapo"}, 0.0)],
)
def test_clip_fraction_by_hand(settings: dict, share: float) -> None:
    ratio, advantages = tensor(0.5, 1.0, 1.5, 2.0), tensor(-1.0, -1.0, -1.0, 1.0)
    zeros = torch.zeros_like(ratio)
    assert loss_tally(zeros, zeros, ratio, advantages, LossSettings(**settings)).means()["clip_fraction"] == share


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3, 0)] * 2, st.floats(-2, 2)), min_size=1), st.integers(0, 20))
def test_tallies_of_micro_batches_add_up(tokens: list[tuple[float, float, float]], cut: int) -> None:
    new, old, advantages = (tensor(*column) for column in zip(*tokens, strict=True))

    def part(at: slice) -> Tally:
        clipped = loss_tally(new[at], old[at], (new[at] - old[at]).exp(), advantages[at], LossSettings())
        return clipped + mismatch_tally(old[at], new[at], new[at] < old[at])

    parts = part(slice(cut)) + part(slice(cut, None))
    assert parts.means() == pytest.approx(part(slice(None)).means())
