"""What all tests share: a quiet, offline, single-threaded environment and a tiny model."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM

# Set before any test imports torch, transformers or wandb, and inherited by every process a test starts.
os.environ.update(
    OMP_NUM_THREADS="1",  # the tests run side by side; torch reads it when it is imported
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    MPLBACKEND="agg",
)
# A test is no rank of the job it may have been started in, and logs in nowhere.
for name in (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WANDB_API_KEY",
    "WANDB_RUN_ID",
):
    os.environ.pop(name, None)

settings.register_profile("budgetrl", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("budgetrl")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder `shared` beside the checkout (real problems, real tokenizers); skips where there is none."""
    path = REPO.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs {path.name}/ with benchmark data beside the checkout")
    return path


@pytest.fixture(scope="session")
def tiny_qwen2() -> "Callable[..., Qwen2ForCausalLM]":
    """`tiny_qwen2(vocab_size, seed, **config)` makes a random Qwen2 of a few thousand parameters.

    Every call makes a new model, in evaluation mode and float32, without touching torch's global generator.
    """

    def make(vocab_size: int = 64, seed: int = 0, **overrides: object) -> "Qwen2ForCausalLM":
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        sizes: dict[str, object] = {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": None,
        }
        config = Qwen2Config(vocab_size=vocab_size, **(sizes | overrides))  # pyright: ignore[reportArgumentType]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Qwen2ForCausalLM(config).float().eval()

    return make
