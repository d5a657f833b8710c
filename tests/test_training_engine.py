"""ZeRO stages 0 to 3 on one and on two ranks against plain PyTorch on the whole batch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import engine_ranks
from budgetrl.settings.zero import STAGES
from budgetrl.training.batching import plan_ranks
from budgetrl.training.policy_gradient import PolicyDatum
from engine_ranks import (
    ALGORITHM,
    BUDGET_ENTROPY,
    LENGTHS,
    OPTIMIZER,
    SAVED_AFTER,
    STEPS,
    TEMPERATURE,
    TOKENS_PER_DEVICE,
)

HERE = Path(__file__).resolve().parent
every_cut = pytest.mark.parametrize(("ranks", "stage"), [(r, s) for r in (1, 2) for s in STAGES])
pytestmark = pytest.mark.slow

Found = Callable[[int, int], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engine_ranks.py left the runs of all stages."""
    folder = tmp_path_factory.mktemp("engine")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    script = [sys.executable, "-W", "ignore", engine_ranks.__file__, str(folder)]
    done = subprocess.run(script, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    return lambda ranks, stage: json.loads((folder / str(ranks) / f"{stage}.json").read_text())


@pytest.fixture(scope="module")
def plain() -> list[dict[str, float]]:
    """Loss and gradient norm of each step, with PyTorch's own AdamW and clipping, a sequence at a time."""
    model, reference = engine_ranks.initial_model(), engine_ranks.initial_model(seed=1)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": OPTIMIZER.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=OPTIMIZER.lr, betas=OPTIMIZER.betas)
    steps = []
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = engine_ranks.learning_rate(step)
        adam.zero_grad()
        losses = [loss_of(e, model, reference) for e in engine_ranks.experience() if not e.truncated]
        loss = torch.stack(losses).sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.gradient_clipping)
        adam.step()
        steps.append({"loss": loss.item(), "grad_norm": norm.item()})
    return steps


def loss_of(e: PolicyDatum, model: PreTrainedModel, reference: PreTrainedModel) -> Tensor:
    """One completion's part of the loss, written out: surrogate clipped at the level of the sequence, corrected
    for the mismatch of each token, k3, entropy of the budget field."""
    logp_TV, old = distributions(e, model), torch.tensor(e.old_logprobs)
    chosen = torch.tensor(e.response_ids)[:, None]
    logprobs = logp_TV.gather(-1, chosen)[:, 0]
    with torch.no_grad():
        theirs = distributions(e, reference).gather(-1, chosen)[:, 0]
    ahead = theirs - logprobs
    ratio = (logprobs - old).mean().exp()
    clipped = ratio.clamp(1 - ALGORITHM.loss.clip_low, 1 + ALGORITHM.loss.clip_high)
    surrogate = -torch.minimum(ratio * e.advantage, clipped * e.advantage)
    correction = (old - torch.tensor(e.logprobs)).exp().clamp(max=ALGORITHM.mismatch.cap)
    per_token = surrogate * correction + ALGORITHM.kl.coefficient * (ahead.exp() - ahead - 1)
    entropy = -(logp_TV.exp() * logp_TV).sum(-1)[list(e.budget_field)].sum()
    return per_token.sum() / sum(LENGTHS) - BUDGET_ENTROPY * entropy / len(LENGTHS)


def distributions(e: PolicyDatum, model: PreTrainedModel, temperature: float = TEMPERATURE) -> Tensor:
    """[T, V] log-probabilities of what could have stood at each completion token."""
    logits = model(torch.tensor([[*e.prompt_ids, *e.response_ids]])).logits[0]
    return (logits / temperature).log_softmax(-1)[len(e.prompt_ids) - 1 : -1]


def test_the_experience_is_a_hard_case(plain: list[dict[str, float]]) -> None:
    sizes = [e.size for e in engine_ranks.experience()]
    one, other = plan_ranks(sizes, TOKENS_PER_DEVICE, 2)
    assert min(one.count([]), other.count([])) == 0 < max(one.count([]), other.count([]))
    assert len(plan_ranks(sizes, TOKENS_PER_DEVICE, 1)[0]) > 2
    assert all(step["grad_norm"] > OPTIMIZER.gradient_clipping for step in plain)


@every_cut
def test_losses_and_norms_are_those_of_plain_pytorch(
    found: Found, plain: list[dict[str, float]], ranks: int, stage: int
) -> None:
    for step, expected in zip(found(ranks, stage)["metrics"], plain, strict=True):
        assert step["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert step["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
        assert 0 < step["clip_fraction"] < 1
        assert 0 < step["mismatch_cut"] < 1


@every_cut
def test_the_other_metrics_do_not_depend_on_the_cut(found: Found, ranks: int, stage: int) -> None:
    whole = found(1, 0)["metrics"]
    for step, expected in zip(found(ranks, stage)["metrics"], whole, strict=True):
        assert step == pytest.approx(expected, rel=1e-4, abs=1e-7)


@every_cut
def test_a_step_without_anything_to_learn_from_has_no_gradient(found: Found, ranks: int, stage: int) -> None:
    masked = found(ranks, stage)["masked"]
    assert {masked[key] for key in ("loss", "grad_norm", "ratio", "entropy", "mismatch", "budget_entropy")} == {0.0}


@every_cut
def test_a_checkpoint_gives_the_trainers_log_probabilities(folder: Path, found: Found, ranks: int, stage: int) -> None:
    path = folder / str(ranks) / f"stage{stage}" / "last"
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    assert len(AutoTokenizer.from_pretrained(path)) == model.config.vocab_size
    with torch.no_grad():
        for e, expected in zip(engine_ranks.experience(), found(ranks, stage)["logprobs"], strict=True):
            logp = distributions(e, model).gather(-1, torch.tensor(e.response_ids)[:, None])[:, 0]
            torch.testing.assert_close(logp, torch.tensor(expected), rtol=1e-5, atol=1e-5)


@every_cut
def test_a_resumed_engine_goes_on_as_if_nothing_had_happened(found: Found, ranks: int, stage: int) -> None:
    run = found(ranks, stage)
    assert run["state"] == {"step": SAVED_AFTER, "ranks": ranks, "extra": {"best": stage}}
    assert run["resumed"] == run["metrics"][SAVED_AFTER:]
    assert run["resumed_logprobs"] == run["logprobs"]
