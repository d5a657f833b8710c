"""Numbers read from a model's files without torch are those of the model that transformers builds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from budgetrl.core.errors import RequestError
from budgetrl.formats.plain import PlainFormat
from budgetrl.planning.model_config import count_parameters, read_model_config
from budgetrl.policy.loading import load_policy
from budgetrl.settings.model import ModelSettings

SHAPE = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, vocab_size=64)
MODELS: list[PretrainedConfig] = [
    LlamaConfig(**SHAPE, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False),
    LlamaConfig(**SHAPE, num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True),
    Qwen2Config(**SHAPE, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True),
    Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=16, max_position_embeddings=256),
    GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=128, vocab_size=64),
]


def settings(folder: Path) -> ModelSettings:
    return ModelSettings(path=str(folder))


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.model_type)
def test_numbers_are_those_of_the_model_that_transformers_builds(tmp_path: Path, config: PretrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    assert count_parameters(settings(tmp_path)) == sum(p.numel() for p in model.parameters())  # tied ones once
    read = read_model_config(settings(tmp_path))
    assert read is not None
    given: Any = config
    assert (read.layers, read.width) == (given.num_hidden_layers, given.hidden_size)
    assert read.context == given.max_position_embeddings
    assert read.key_value_heads == getattr(given, "num_key_value_heads", given.num_attention_heads)
    keys = model(input_ids=torch.zeros(1, 3, dtype=torch.long)).past_key_values.layers[0].keys
    assert (read.key_value_heads, read.head_size) == (keys.shape[1], keys.shape[-1])


def test_a_tied_output_layer_that_is_written_twice_counts_once(tmp_path: Path) -> None:
    config = LlamaConfig(**SHAPE, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    tensors = load_file(file)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file)
    assert count_parameters(settings(tmp_path)) == sum(p.numel() for p in model.parameters())


def test_weights_in_several_files_are_counted_once_and_copies_beside_them_not_at_all(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(MODELS[0])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    save_file({"whole": torch.zeros(999)}, tmp_path / "consolidated.safetensors")
    assert count_parameters(settings(tmp_path)) == sum(p.numel() for p in model.parameters())


def test_a_model_that_transformers_does_not_know_is_rejected_on_loading(tmp_path: Path) -> None:
    config = {"model_type": "of_next_year", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_model_config(settings(tmp_path)) is not None
    with pytest.raises(RequestError, match=r"^model\.path: .* cannot be loaded by transformers .*of_next_year"):
        load_policy(settings(tmp_path), PlainFormat(), torch.device("cpu"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(
        RequestError, match=r"^model\.path: .* has the type resnet, which is not a causal language model"
    ):
        load_policy(settings(tmp_path), PlainFormat(), torch.device("cpu"))


def test_folders_without_a_language_model_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"model\.path: no model in .*: it has no config\.json"):
        read_model_config(settings(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(RequestError, match=r"model\.path: .* is not the configuration of a language model"):
        read_model_config(settings(tmp_path))
    with pytest.raises(RequestError, match=r"model\.path: there is no folder /nowhere"):
        read_model_config(ModelSettings(path="/nowhere"))
    assert read_model_config(ModelSettings(path="not/here-yet")) is None
    assert count_parameters(ModelSettings(path="not/here-yet")) is None
