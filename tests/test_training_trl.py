"""Every algorithm that TRL's GRPO trainer has, against TRL: advantages, loss and gradient.

Values that TRL gave are kept in fixtures/grpo_trl.json; where TRL is installed it is asked again, on other inputs.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from budgetrl.settings.algorithm import Algorithm
from budgetrl.settings.strict import build
from budgetrl.training.advantages import Group, group_advantages
from budgetrl.training.losses import (
    kl_penalty,
    mismatch_weights,
    per_token,
    policy_loss,
    policy_ratio,
    token_weights,
)
from trl_peer import CASES, FIXTURE, LONGEST, STD_FLOOR, Expected, Inputs, ask_trl, random_inputs

KEPT = json.loads(FIXTURE.read_text())["cases"]
LIVE_SEEDS = range(100, 106)


@pytest.mark.parametrize("name", CASES)
def test_as_trl_was(name: str) -> None:
    inputs, expected = Inputs(**KEPT[name]["inputs"]), Expected(**KEPT[name]["expected"])
    check(algorithm_of(CASES[name][0]), inputs, expected)


@pytest.mark.parametrize("name", CASES)
def test_as_trl_is(name: str) -> None:
    pytest.importorskip("trl", reason="needs the extra `peers`")
    ours, theirs = CASES[name]
    for inputs in map(random_inputs, LIVE_SEEDS):
        check(algorithm_of(ours), inputs, ask_trl(inputs, theirs))


def algorithm_of(ours: dict[str, Any]) -> Algorithm:
    algorithm = build(Algorithm, ours, "algorithm")
    return replace(algorithm, advantage=replace(algorithm.advantage, std_floor=STD_FLOOR))


def check(algorithm: Algorithm, inputs: Inputs, expected: Expected) -> None:
    advantages = advantages_of(inputs, algorithm)
    assert advantages == pytest.approx(expected.advantages, abs=1e-5)
    new = torch.tensor([x for row in inputs.new for x in row], requires_grad=True)
    loss = loss_of(new, advantages, inputs, algorithm)
    (gradient,) = torch.autograd.grad(loss, new)
    assert loss.item() == pytest.approx(expected.loss, abs=1e-5)
    assert gradient.tolist() == pytest.approx([x for row in expected.gradient for x in row], abs=1e-5)
    assert gradient.abs().max() > 1e-3


def advantages_of(inputs: Inputs, algorithm: Algorithm) -> list[float]:
    groups = []
    for start in range(0, len(inputs.lengths), inputs.group):
        at = slice(start, start + inputs.group)
        parts = {str(i): [float("nan") if x is None else x for x in part[at]] for i, part in enumerate(inputs.parts)}
        rewards = [sum(row) for row in zip(*parts.values(), strict=True)]
        groups.append(Group(rewards, parts, inputs.lengths[at], [False] * inputs.group, [True] * inputs.group))
    return [a for group in group_advantages(groups, algorithm.advantage) for a in group]


def loss_of(new: Tensor, advantages: list[float], inputs: Inputs, algorithm: Algorithm) -> Tensor:
    lengths = inputs.lengths
    old, rollout, reference = (
        torch.tensor([x for row in rows for x in row]) for rows in (inputs.old, inputs.rollout, inputs.reference)
    )
    ratio = policy_ratio(new, old, lengths, algorithm.loss.ratio_level)
    correction, _ = mismatch_weights(old, rollout, lengths, algorithm.mismatch)
    losses = policy_loss(new, ratio, per_token(advantages, lengths), algorithm.loss) * correction
    losses = losses + algorithm.kl.coefficient * kl_penalty(new, reference, algorithm.kl.estimator)
    masked = [algorithm.loss.mask_truncated and cut for cut in inputs.truncated]
    weights = token_weights(lengths, algorithm.loss.level, LONGEST, masked)
    return (per_token(weights, lengths) * losses).sum()
