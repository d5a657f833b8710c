"""Every ZeRO stage on one and on two ranks, on fixed synthetic experience: what test_training_engine.py looks at.

`python engine_ranks.py <folder>` writes <ranks>/<stage>.json there, and a checkpoint beside each.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from transformers import LlamaForCausalLM

from budgetrl.data.mini.model import make_model, make_tokenizer
from budgetrl.formats.budget import BudgetFormat
from budgetrl.policy import module
from budgetrl.policy.loading import Policy, make_codec
from budgetrl.policy.module import PolicyModule
from budgetrl.settings.algorithm import (
    Algorithm,
    BudgetEntropySettings,
    KLSettings,
    LossSettings,
    MismatchSettings,
)
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.optimizer import Optimizer
from budgetrl.settings.zero import STAGES, ZeroSettings
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.distributed import TorchWorld
from budgetrl.training.engine import ZeroEngine
from budgetrl.training.policy_gradient import PolicyDatum, PolicyGradient, policy_logprobs
from budgetrl.training.step import optimizer_step, single_units
from forked import import_what_ranks_need, run_ranks

STEPS, SAVED_AFTER = 5, 2
LENGTHS = (58, 3, 5, 9, 2, 17, 8)
"""Of the completions: the first one alone weighs more than all others, so two ranks have uneven numbers."""
TOKENS_PER_DEVICE = 30
TEMPERATURE = 0.9
BUDGET_ENTROPY = 0.02
ALGORITHM = Algorithm(
    kl=KLSettings(coefficient=0.1, estimator="k3"),
    loss=LossSettings(
        ratio_level="sequence",
        clip_low=0.1,
        clip_high=9.0,  # the first clips whole completions, this none
        mask_truncated=True,
    ),
    mismatch=MismatchSettings(correction="token_truncate", cap=1.5),
    budget_entropy=BudgetEntropySettings(start=BUDGET_ENTROPY, end=BUDGET_ENTROPY),
)
OPTIMIZER = Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, gradient_clipping=0.05)


def initial_model(seed: int = 0) -> LlamaForCausalLM:
    return make_model(len(make_tokenizer()), seed)


def written() -> list[PolicyDatum]:
    """Completions of tokens and log-probabilities drawn at random: far enough from the policy's to be clipped.

    Those of LENGTHS, and a truncated one that nothing is to be learned from.
    """
    rng = Random(0)
    return [
        PolicyDatum(
            prompt_ids=tuple(rng.randrange(8, 150) for _ in range(rng.randint(1, 6))),
            response_ids=tuple(rng.randrange(2, 150) for _ in range(length)),
            logprobs=tuple(rng.uniform(-5.6, -4.6) for _ in range(length)),
            advantage=rng.uniform(-1, 2),
            budget_field=range(1, 3) if i % 2 else range(0),
            truncated=i == len(LENGTHS),
        )
        for i, length in enumerate([*LENGTHS, 20])
    ]


def experience() -> list[PolicyDatum]:
    """With log-probabilities of the policy before the step, which the rollout engine did not get quite right."""
    rng = Random(1)
    return [replace(d, old_logprobs=tuple(x + rng.uniform(-0.7, 0.7) for x in d.logprobs)) for d in written()]


def learning_rate(step: int) -> float:
    return OPTIMIZER.lr * (1 - step / 10)


class Training:
    """A policy in training at one ZeRO stage."""

    def __init__(self, stage: int, folder: Path, world: TorchWorld) -> None:
        tokenizer = make_tokenizer()
        model = initial_model()
        self.policy = Policy(model, make_codec(tokenizer, ModelSettings()))
        reference = PolicyModule(initial_model(seed=1), TEMPERATURE).requires_grad_(False).eval()
        self.engine = ZeroEngine(PolicyModule(model, TEMPERATURE), ZeroSettings(stage), OPTIMIZER, world)
        self.objective = PolicyGradient(ALGORITHM, max(LENGTHS), reference)
        self.saved = Checkpoints(folder, world)
        self.data = experience()

    def run(self, first: int, last: int) -> list[dict[str, float]]:
        """The metrics of steps `first` to `last`, counted from 0, the last one not included."""
        return [self.step(self.data, step) for step in range(first, last)]

    def step(self, data: list[PolicyDatum], step: int) -> dict[str, float]:
        """The metrics of one step."""
        lr = learning_rate(step)
        return optimizer_step(self.engine, self.objective, single_units(data), lr, TOKENS_PER_DEVICE)

    def run_on_truncated_ones(self) -> dict[str, float]:
        """The metrics of a step for which all are masked."""
        return self.step([datum for datum in self.data if datum.truncated], 0)

    def logprobs(self) -> list[list[float]]:
        return [list(values) for values in policy_logprobs(self.engine, self.data, TOKENS_PER_DEVICE)]


def train(folder: Path) -> None:
    """One rank: every stage in turn, each trained, saved half-way, resumed, and saved for use."""
    module.LOGITS_PER_CHUNK = 16 * len(make_tokenizer())
    world = TorchWorld.join()
    for stage in STAGES:
        training = Training(stage, folder / f"stage{stage}", world)
        metrics = training.run(0, SAVED_AFTER)
        training.saved.save_state(SAVED_AFTER, training.engine, {"best": stage})
        metrics += training.run(SAVED_AFTER, STEPS)
        training.saved.save_policy("last", training.policy, training.engine, BudgetFormat(), "card")
        found: dict[str, Any] = {"metrics": metrics, "logprobs": training.logprobs()}
        training.engine.close()
        resumed = Training(stage, folder / f"stage{stage}", world)
        found["state"] = resumed.saved.load_state(SAVED_AFTER, resumed.engine)
        found["resumed"] = resumed.run(SAVED_AFTER, STEPS)
        found["resumed_logprobs"] = resumed.logprobs()
        found["masked"] = resumed.run_on_truncated_ones()
        resumed.engine.close()
        if world.is_main:
            (folder / f"{stage}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    import_what_ranks_need()
    for ranks in (1, 2):
        folder = Path(sys.argv[1]) / str(ranks)
        folder.mkdir(parents=True)
        codes = run_ranks(ranks, partial(train, folder), folder / "log")
        assert set(codes) == {0}, (folder / "log.0").read_text()[-3000:]
