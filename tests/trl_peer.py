"""GRPO's losses, gradients and advantages as TRL computes them, for test_training_trl.py.

TRL's own `GRPOTrainer._generate_and_score_completions` and `_compute_loss` are called, on a stand-in
for the trainer that holds the settings they read, and gives them fixed tokens, rewards and
log-probabilities instead of a model's. The gradient is the one TRL leaves on those log-probabilities.

As a script this writes fixtures/grpo_trl.json, which the tests read where TRL is not installed:

    pip install -e '.[peers]'
    python tests/trl_peer.py
"""

import importlib
import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

FIXTURE = Path(__file__).parent / "fixtures" / "grpo_trl.json"
LONGEST = 12
"""Tokens of the longest completion allowed."""
STD_FLOOR = 1e-4
"""TRL's, which is no setting there."""

Settings = dict[str, Any]
VLLM = {"use_vllm": True, "vllm_importance_sampling_correction": True}
GSPO = {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.1}
OURS_GSPO = {"loss": {"ratio_level": "sequence", "level": "sequence", "clip_low": 0.05, "clip_high": 0.1}}


def corrected(mode: str, cap: float, floor: float = 0.0) -> tuple[Settings, Settings]:
    """Settings of ours and of TRL's for a correction of the mismatch."""
    bounds = {"vllm_importance_sampling_clip_max": cap, "vllm_importance_sampling_clip_min": floor or None}
    ours = {"mismatch": {"correction": mode, "cap": cap, "floor": floor}, "loss": {"level": "sequence"}}
    return ours, {**VLLM, "vllm_importance_sampling_mode": mode, **bounds}


CASES: dict[str, tuple[Settings, Settings]] = {
    "grpo": ({"loss": {"level": "sequence"}}, {}),
    "grpo_kl": ({"loss": {"level": "sequence"}, "kl": {"coefficient": 0.04}}, {"beta": 0.04}),
    "grpo_dual_clip": ({"loss": {"level": "sequence", "dual_clip": 1.5}}, {"delta": 1.5}),
    "bnpo_kl": ({"kl": {"coefficient": 0.04}}, {"loss_type": "bnpo", "beta": 0.04}),
    "dr_grpo": (
        {"advantage": {"scale": "none"}, "loss": {"level": "constant"}},
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
    ),
    "dapo": ({"loss": {"clip_high": 0.28}}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "dapo_masked": (
        {"loss": {"clip_high": 0.28, "mask_truncated": True}},
        {"loss_type": "dapo", "epsilon_high": 0.28, "mask_truncated_completions": True},
    ),
    "gspo": (OURS_GSPO, GSPO),
    "gspo_kl": ({**OURS_GSPO, "kl": {"coefficient": 0.1}}, {**GSPO, "beta": 0.1}),
    "cispo": (
        {"loss": {"surrogate": "cispo", "clip_low": 1.0, "clip_high": 0.3}},
        {"loss_type": "cispo", "epsilon_high": 1.3},
    ),
    "sapo": ({"loss": {"surrogate": "sapo", "level": "sequence"}}, {"loss_type": "sapo"}),
    "batch_scale": ({"advantage": {"scale": "batch"}}, {"loss_type": "dapo", "scale_rewards": "batch"}),
    "gdpo": (
        {"advantage": {"scale": "batch", "per_component": True}},
        {"loss_type": "dapo", "multi_objective_aggregation": "normalize_then_sum"},
    ),
    "token_truncate": corrected("token_truncate", 1.2),
    "token_mask": corrected("token_mask", 1.3, 0.8),
    "sequence_truncate": corrected("sequence_truncate", 1.2),
    "sequence_mask": corrected("sequence_mask", 1.5, 0.6),
    "gspo_token_truncate": tuple(
        a | b for a, b in zip(corrected("token_truncate", 1.2), (OURS_GSPO, GSPO), strict=True)
    ),
    "grpo_masked": (
        {"loss": {"level": "sequence", "mask_truncated": True}, "kl": {"coefficient": 0.04}},
        {"beta": 0.04, "mask_truncated_completions": True},
    ),
    "dr_grpo_masked": (
        {"advantage": {"scale": "none"}, "loss": {"level": "constant", "mask_truncated": True}},
        {"loss_type": "dr_grpo", "scale_rewards": "none", "mask_truncated_completions": True},
    ),
}
"""By name: keys of `algorithm`, and the same as settings of TRL."""


@dataclass(frozen=True)
class Inputs:
    """A rollout: B completions, `group` of each prompt, their log-probabilities, and the parts of their rewards."""

    group: int
    lengths: list[int]
    truncated: list[bool]
    parts: list[list[float | None]]
    """[part][B]; None where a completion could not be scored."""
    new: list[list[float]]
    old: list[list[float]]
    rollout: list[list[float]]
    reference: list[list[float]]


@dataclass(frozen=True)
class Expected:
    """What TRL makes of it; the gradient is that at `new`."""

    advantages: list[float]
    loss: float
    gradient: list[list[float]]


def random_inputs(seed: int) -> Inputs:
    """Groups of 2 to 4; policies that differ enough for every bound to act; one completion without a score."""
    generator = torch.Generator().manual_seed(seed)

    def normal(scale: float, like: Tensor) -> Tensor:
        return scale * torch.randn(like.shape, generator=generator)

    group = 2 + seed % 3
    count = 3 * group
    lengths = torch.randint(1, LONGEST + 1, (count,), generator=generator)
    right, extra = (torch.randint(0, top, (count,), generator=generator) for top in (2, 64))
    rewards = torch.stack([right, extra / 64])  # of which float32 makes exact sums and means
    rewards[:, :group] = rewards[:, :1] if seed % 2 else rewards[:, :group]  # sometimes a group of equal rewards
    parts = rewards.tolist()
    if group > 2:
        parts[0][-1] = parts[1][-1] = None
    old = -2 * torch.rand(count, LONGEST, generator=generator) - 0.1
    new, rollout, reference = old + normal(0.3, old), old + normal(0.2, old), old + normal(0.3, old)
    rows = [rounded(ragged(x, lengths.tolist()), 4) for x in (new, old, rollout, reference)]
    truncated = [i % 4 == 1 for i in range(count)]
    return Inputs(group, lengths.tolist(), truncated, parts, *rows)


def ask_trl(inputs: Inputs, settings: Settings) -> Expected:
    """TRL's answer; raises ModuleNotFoundError where it is not installed."""
    trainer = importlib.import_module("trl.trainer.grpo_trainer").GRPOTrainer
    new = padded(inputs.new).requires_grad_()
    tables = {"policy": padded(inputs.old), "reference": padded(inputs.reference), "new": new}
    self = stand_in(inputs, settings, tables)
    batch = trainer._generate_and_score_completions(self, [{"prompt": "?"}] * len(inputs.lengths))
    loss = trainer._compute_loss(self, NamedModel("new"), batch)
    (gradient,) = torch.autograd.grad(loss, new)
    advantages = batch["advantages"].tolist()
    return Expected(*rounded([advantages, loss.item(), ragged(gradient, inputs.lengths)], 8))


def ragged(values: Tensor, lengths: list[int]) -> list[list[float]]:
    return [values[i, :length].tolist() for i, length in enumerate(lengths)]


def rounded(values: Any, digits: int) -> Any:
    """Nested lists with shorter numbers, for the sake of the file."""
    return [rounded(value, digits) for value in values] if isinstance(values, list) else round(values, digits)


def padded(rows: list[list[float]]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


@dataclass
class NamedModel:
    """What TRL takes for a model: its name says which log-probabilities are its."""

    table: str
    training: bool = True
    is_gradient_checkpointing: bool = False


PAD, END, WORD = 0, 1, 2


def stand_in(inputs: Inputs, settings: Settings, tables: dict[str, Tensor]) -> SimpleNamespace:
    """What the two methods read of a trainer."""
    settings = {"delta": None, "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0, **settings}
    words = [
        [WORD] * (length - 1) + [WORD if cut else END]
        for length, cut in zip(inputs.lengths, inputs.truncated, strict=True)
    ]
    count = len(words)
    rewards = torch.tensor([[math.nan if x is None else x for x in part] for part in inputs.parts]).T
    defaults = {
        "importance_sampling_level": "token",
        "loss_type": "grpo",
        "mask_truncated_completions": False,
        "multi_objective_aggregation": "sum_then_normalize",
        "scale_rewards": "group",
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
    }
    return SimpleNamespace(
        **{**defaults, **settings},
        _calculate_rewards=lambda *_: rewards,
        _entropy_bonus_enabled=False,
        _generate=lambda prompts: ([[WORD]] * count, words, None, words, inputs.rollout, {}, None, None),
        _get_per_token_logps_and_entropies=lambda model, *_, **__: (
            tables[model.table],
            torch.zeros_like(tables[model.table]),
            None,
        ),
        _logs=defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list)),
        _metrics={"train": defaultdict(list)},
        _pending_extra_logs={},
        _pending_metrics={},
        _tokenizer=SimpleNamespace(pad_token_id=PAD),
        accelerator=SimpleNamespace(
            device=torch.device("cpu"),
            num_processes=1,
            process_index=0,
            gather=lambda x: x,
            gather_for_metrics=lambda x: x,
            reduce=lambda x, reduction: x,
        ),
        args=SimpleNamespace(
            delta=settings["delta"],
            gradient_accumulation_steps=1,
            gradient_checkpointing_kwargs=None,
            per_device_train_batch_size=count,
            sapo_temperature_neg=1.05,
            sapo_temperature_pos=1.0,
            steps_per_generation=1,
            use_bias_correction_kl=False,
        ),
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=1,
        environment_factories=None,
        environments=None,
        eos_token_ids=[END],
        log_multimodal=False,
        max_completion_length=LONGEST,
        model=NamedModel("policy"),
        num_generations=inputs.group,
        num_iterations=2,  # so that old log-probabilities are asked for
        off_policy_mask_threshold=None,
        pad_to_multiple_of=None,
        ref_model=NamedModel("reference"),
        reward_func_names=["first", "second"],
        reward_funcs=[None, None],
        reward_weights=torch.ones(2),
        tools=None,
        top_entropy_quantile=1.0,
    )


def main() -> None:
    trl = importlib.import_module("trl")
    seeds = {name: i for i, name in enumerate(CASES)}
    content = {
        "made_by": f"tests/trl_peer.py with trl {trl.__version__}",
        "cases": {
            name: {
                "inputs": asdict(random_inputs(seed)),
                "expected": asdict(ask_trl(random_inputs(seed), CASES[name][1])),
            }
            for name, seed in seeds.items()
        },
    }
    FIXTURE.write_text(compact(content))


def compact(content: Settings) -> str:
    """JSON with a case on each line."""
    cases = ",\n".join(f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in content["cases"].items())
    return f'{{\n "made_by": {json.dumps(content["made_by"])},\n "cases": {{\n{cases}\n }}\n}}\n'


if __name__ == "__main__":
    main()
