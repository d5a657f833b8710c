"""Memory estimates compared with what PyTorch really keeps, and the values of `auto` that follow from them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from budgetrl.planning import auto
from budgetrl.planning.auto import resolve_auto
from budgetrl.planning.memory import activation_bytes_per_token, estimate_memory, kv_bytes_per_token
from budgetrl.planning.model_config import ModelConfig
from budgetrl.planning.plan import make_plan
from budgetrl.settings.auto import Rule
from budgetrl.settings.config import Config, load_config
from budgetrl.settings.launch import DirectLaunch

GIB = 2**30
SHAPE = dict(hidden_size=64, intermediate_size=160, num_attention_heads=4, num_key_value_heads=2, vocab_size=64)


def numbers_of(config: Any) -> ModelConfig:
    """Return a transformers configuration as read from its config.json."""
    return ModelConfig.of(config.to_dict())


def kept_for_backward(model: Any, tokens: int) -> int:
    """Return the bytes of all tensors except weights that the layers keep for the backward pass."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in weights)


@pytest.mark.parametrize("make", [LlamaConfig, Qwen2Config, Qwen3Config])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_those_that_pytorch_keeps_but_for_a_third(make: Any, dtype: torch.dtype) -> None:
    few, many = (
        AutoModelForCausalLM.from_config(make(**SHAPE, head_dim=16, num_hidden_layers=n), dtype=dtype).train()
        for n in (2, 4)
    )
    measured = (kept_for_backward(many, 128) - kept_for_backward(few, 128)) / 128
    said = activation_bytes_per_token(numbers_of(many.config), dtype.itemsize, False)
    said -= activation_bytes_per_token(numbers_of(few.config), dtype.itemsize, False)
    assert 0.66 * said <= measured <= said


def test_recomputed_activations_are_each_layers_input_and_one_layer_twice() -> None:
    few, many = (numbers_of(Qwen2Config(**SHAPE, num_hidden_layers=n)) for n in (2, 4))
    assert activation_bytes_per_token(many, 2, True) - activation_bytes_per_token(few, 2, True) == 2 * 2 * 64
    assert activation_bytes_per_token(few, 2, True) == 2 * (2 * 64 + 2 * (4 * 160 + 18 * 64))


def test_keys_and_values_of_a_token() -> None:
    """DeepSeek-R1-Distill-Qwen-1.5B: 28 layers, 2 key-value heads of 128, bfloat16."""
    shape = Qwen2Config(
        hidden_size=1536, num_attention_heads=12, num_key_value_heads=2, num_hidden_layers=28, vocab_size=64
    )
    assert kv_bytes_per_token(numbers_of(shape), 2) == 28 * 2 * 2 * 128 * 2


def request(folder: Path, **changes: Any) -> dict[str, Any]:
    """A GRPO run of a small model, with everything that may be auto."""
    config = Qwen2Config(**SHAPE, num_hidden_layers=2, max_position_embeddings=4096)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    stage = {"name": "grpo", "max_new_tokens": "auto", "tokens_per_device": "auto"}
    model = {"path": str(folder), "dtype": "float32"}
    given = {"stage": stage, "model": model, "reward": {"name": "accuracy"}, "launch": {"ranks": 2}}
    return given | {"zero": {"stage": "auto"}, "rollout": {"batch_size": "auto"}} | changes


def settled(given: dict[str, Any]) -> Config:
    auto_keys: dict[str, Rule] = {}
    return resolve_auto(load_config(given, auto_keys), auto_keys)


def there(monkeypatch: pytest.MonkeyPatch, size: float | None) -> None:
    monkeypatch.setattr(DirectLaunch, "device_memory", lambda launch: None if size is None else int(size))


@pytest.mark.parametrize("size", [None, 80 * GIB])
def test_where_memory_is_plenty_or_not_known_the_usual_numbers_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: float | None
) -> None:
    there(monkeypatch, size)
    config = settled(request(tmp_path))
    stage: Any = config.stage
    assert (stage.max_new_tokens, stage.tokens_per_device) == (3072, Rule.MICRO_BATCH.value)
    assert (config.zero.stage, config.rollout.batch_size) == (2, Rule.ROWS.value)  # type: ignore[attr-defined]


def test_where_memory_is_short_micro_batches_and_rollouts_shrink_to_what_fits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there(monkeypatch, 2.1 * GIB)
    config = settled(request(tmp_path))
    needed = estimate_memory(config)
    assert needed is not None
    tokens, rows = config.stage.tokens_per_device, config.rollout.batch_size  # type: ignore[attr-defined]
    room = int(auto.USABLE_SHARE * int(2.1 * GIB)) - needed.total_state()
    assert 3072 < tokens < Rule.MICRO_BATCH.value
    assert needed.for_micro_batch(tokens) <= room < needed.for_micro_batch(tokens + 1)
    assert needed.for_generation(rows, 3072 + 1024) <= room


def test_weights_that_fill_a_device_are_cut_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there(monkeypatch, 500_000)
    assert settled(request(tmp_path)).zero.stage == 3


@pytest.mark.parametrize(("size", "told"), [(None, 0), (80 * GIB, 0), (GIB, 1)])
def test_a_run_that_does_not_fit_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: float | None, told: int
) -> None:
    there(monkeypatch, size)
    given = request(tmp_path, zero={"stage": 0}, rollout={"batch_size": 8})
    given["stage"] |= {"max_new_tokens": 100, "tokens_per_device": 4096}
    plan = make_plan(load_config(given))
    assert sum(line.startswith("memory: ") for line in plan["warnings"]) == told


def test_a_rank_has_its_gpu_or_its_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = load_config({"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "launch": {"ranks": 2}}).launch
    monkeypatch.setattr("budgetrl.settings.launch.host_memory", lambda: 100)
    monkeypatch.setattr("budgetrl.settings.launch.count_gpus", lambda: 0)
    assert launch.device_memory() == 50
    monkeypatch.setattr("budgetrl.settings.launch.count_gpus", lambda: 2)
    monkeypatch.setattr("budgetrl.runs.machine.command_output", lambda *command: "81559\n24564\n")
    assert launch.device_memory() == 24564 * 2**20
    monkeypatch.setattr("budgetrl.runs.machine.command_output", lambda *command: None)
    assert launch.device_memory() is None
