"""What is on disk, without an engine: states to resume from, and policies to be asked."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from budgetrl.data.mini.model import make_model, make_tokenizer
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.policy.loading import Policy, make_codec
from budgetrl.runs.world import SingleProcess
from budgetrl.settings.model import ModelSettings
from budgetrl.training.checkpoints import Checkpoints


class FakeEngine:
    """Its whole state is a file in a folder of its own."""

    def save_state(self, folder: Path) -> None:
        (folder / "zero").mkdir(parents=True)
        (folder / "zero" / "rank0.pt").write_text("weights")


def test_a_state_is_on_disk_before_the_older_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = FakeEngine()
    saved = Checkpoints(tmp_path, SingleProcess())
    saved.save_state(1, engine, {"best": 0.5})
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        assert (tmp_path / "state-1").exists()

    monkeypatch.setattr(os, "fsync", fsync)
    saved.save_state(2, engine, {"best": 0.5})
    assert sorted(synced) == ["rank0.pt", "state.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["state-2"]


@pytest.mark.parametrize(("fmt", "asked"), [(BudgetFormat(), "a 4 ?"), (PlainFormat(), "a 4 ?<think>")])
def test_a_policy_is_asked_in_the_format_that_it_learned(tmp_path: Path, fmt: ResponseFormat, asked: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>{% endif %}"
    model = make_model(len(tokenizer), seed=0)
    engine: Any = SimpleNamespace(weights=model.state_dict)
    saved = Checkpoints(tmp_path, SingleProcess())
    folder = saved.save_policy("last", Policy(model, make_codec(tokenizer, ModelSettings())), engine, fmt, "# A card")
    chat = [{"role": "user", "content": "a 4 ?"}]
    served = AutoTokenizer.from_pretrained(folder)
    assert served.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == asked
    assert (folder / "README.md").read_text() == "# A card"
