import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from budgetrl.training.losses import (
    LossMetrics,
    kl_penalty,
    loss_metrics,
    policy_loss,
    spread,
    token_weights,
)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss: Tensor, at: Tensor) -> list[float]:
    return torch.autograd.grad(loss, at, retain_graph=True)[0].tolist()


RATIOS = (0.5, 0.9, 1.0, 1.1, 2.0)


@pytest.mark.parametrize(
    ("advantage", "losses", "slopes"),
    [
        # A good token is pushed up until 1.28, a bad one down until 0.8; pulls back to 1 are never clipped.
        (2.0, (-1.0, -1.8, -2.0, -2.2, -2.56), (-1.0, -1.8, -2.0, -2.2, 0.0)),
        (-2.0, (1.6, 1.8, 2.0, 2.2, 4.0), (0.0, 1.8, 2.0, 2.2, 4.0)),
        (0.0, (0.0,) * 5, (0.0,) * 5),
    ],
)
def test_policy_loss_and_its_gradient_by_hand(
    advantage: float, losses: tuple[float, ...], slopes: tuple[float, ...]
) -> None:
    old = tensor(-1.0, -2.0, -0.5, -3.0, -1.5)
    new = (old + tensor(*RATIOS).log()).requires_grad_()
    loss = policy_loss(new, old, torch.full_like(old, advantage), clip_low=0.2, clip_high=0.28)
    assert loss.tolist() == pytest.approx(losses)
    assert gradient(loss.sum(), new) == pytest.approx(slopes)  # d ratio / d logprob = ratio


def test_on_policy_gradient_is_reinforce_whatever_the_clip() -> None:
    new = tensor(-1.0, -2.0).requires_grad_()
    loss = policy_loss(new, new, tensor(3.0, -0.5), clip_low=0.0, clip_high=0.0)
    assert gradient(loss.sum(), new) == pytest.approx([-3.0, 0.5])


def test_a_stray_token_does_not_make_the_loss_infinite() -> None:
    new = tensor(0.0).requires_grad_()
    loss = policy_loss(new, tensor(-2000.0), tensor(-1.0), 0.2, 0.2)
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
    loss = policy_loss(new, other, tensor(1.0), 0.2, 0.2) + kl_penalty(new, other, "k3")
    assert torch.autograd.grad(loss, other, allow_unused=True) == (None,)


def test_token_weights_by_hand() -> None:
    assert token_weights([2, 1, 5], "token") == [1 / 8] * 3
    assert token_weights([2, 1, 5], "sequence") == pytest.approx([1 / 6, 1 / 3, 1 / 15])
    assert spread(token_weights([2, 1], "sequence"), [2, 1]).tolist() == [0.25, 0.25, 0.5]


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_token_weights_want_tokens(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        token_weights(lengths, "token")


def test_unknown_kinds_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match="k1, k2, k3"):
        kl_penalty(tensor(-1.0), tensor(-1.0), "k4")
    with pytest.raises(ValueError, match="token, sequence"):
        token_weights([1], "prompt")


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Lengths of completions, and those completions in micro-batches, some of them empty."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    order = draw(st.permutations(range(len(lengths))))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    return lengths, [list(order[a:b]) for a, b in pairwise(edges)]


@settings(deadline=None)
@given(splits(), st.sampled_from(["token", "sequence"]), st.integers(0, 1000))
def test_any_micro_batch_split_gives_the_same_loss_and_gradient(
    split: tuple[list[int], list[list[int]]], level: str, seed: int
) -> None:
    lengths, batches = split
    generator = torch.Generator().manual_seed(seed)
    new, old, ref = torch.randn(3, sum(lengths), generator=generator, dtype=torch.float64)
    new = new.requires_grad_()
    advantages = torch.randn(len(lengths), generator=generator).tolist()
    weights = token_weights(lengths, level)
    tokens = torch.arange(sum(lengths)).split(lengths)

    def share(batch: list[int]) -> Tensor:
        at = torch.cat([torch.empty(0, dtype=torch.long), *(tokens[i] for i in batch)])
        sizes = [lengths[i] for i in batch]
        per_token = policy_loss(new[at], old[at], spread([advantages[i] for i in batch], sizes), 0.2, 0.3)
        per_token = per_token + 0.1 * kl_penalty(new[at], ref[at], "k3")
        return (spread([weights[i] for i in batch], sizes) * per_token).sum()

    per_token = policy_loss(new, old, spread(advantages, lengths), 0.2, 0.3) + 0.1 * kl_penalty(new, ref, "k3")
    means = [part.mean() for part in per_token.split(lengths)]
    whole = per_token.mean() if level == "token" else torch.stack(means).mean()
    assert sum(share(batch).item() for batch in batches) == pytest.approx(whole.item(), abs=1e-5)
    expected = gradient(whole, new)
    parts = torch.stack([torch.autograd.grad(share(batch), new)[0] for batch in batches])
    assert parts.sum(0).tolist() == pytest.approx(expected, abs=1e-5)


def test_loss_metrics_by_hand() -> None:
    old = torch.zeros(4, dtype=torch.float64)
    new = tensor(0.5, 1.0, 1.5, 2.0).log()
    advantages = tensor(-1.0, -1.0, -1.0, 1.0)  # the clip acts on the first and the last
    means = loss_metrics(new, old, advantages, 0.2, 0.2).means()
    assert means["clip_fraction"] == 0.5
    assert means["ratio"] == pytest.approx(1.25)
    assert means["ratio_max"] == pytest.approx(2.0)
    expected = sum(r - 1 - math.log(r) for r in (0.5, 1.0, 1.5, 2.0)) / 4
    assert means["kl_old"] == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3, 0)] * 2, st.floats(-2, 2)), min_size=1), st.integers(0, 20))
def test_loss_metrics_add_up(tokens: list[tuple[float, float, float]], cut: int) -> None:
    new, old, advantages = (tensor(*column) for column in zip(*tokens, strict=True))

    def part(at: slice) -> LossMetrics:
        return loss_metrics(new[at], old[at], advantages[at], 0.2, 0.2)

    parts = part(slice(cut)) + part(slice(cut, None))
    assert parts.means() == pytest.approx(part(slice(None)).means())


TRL = json.loads((Path(__file__).parent / "fixtures" / "grpo_trl.json").read_text())


@pytest.mark.parametrize("expected", TRL["losses"], ids=lambda case: f"{case['loss_type']}-beta{case['beta']}")
def test_agrees_with_trl(expected: dict) -> None:
    lengths = TRL["lengths"]
    clip = expected["epsilon_low"], expected["epsilon_high"]
    new = torch.tensor(TRL["new"], requires_grad=True)
    old, ref = torch.tensor(TRL["old"]), torch.tensor(TRL["ref"])
    advantages = spread(TRL["completion_advantages"], lengths)
    per_token = policy_loss(new, old, advantages, *clip) + expected["beta"] * kl_penalty(new, ref, "k3")
    level = {"grpo": "sequence", "dapo": "token", "bnpo": "token"}[expected["loss_type"]]
    loss = (spread(token_weights(lengths, level), lengths) * per_token).sum()
    assert loss.item() == pytest.approx(expected["loss"], abs=1e-5)
    assert gradient(loss, new) == pytest.approx(expected["gradient"], abs=1e-5)
    clipped = loss_metrics(new, old, advantages, *clip).means()["clip_fraction"]
    assert clipped == pytest.approx(expected["clip_fraction"], abs=1e-6)
