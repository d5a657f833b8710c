"""States to resume from, without an engine: what is on disk before an older one goes."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.distributed import World


class FakeEngine:
    """Its whole state is a file in a folder of its own."""

    def save_state(self, folder: Path) -> None:
        (folder / "zero").mkdir(parents=True)
        (folder / "zero" / "rank0.pt").write_text("weights")


def test_a_state_is_on_disk_before_the_older_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = FakeEngine()
    saved = Checkpoints(tmp_path, World(0, 1, torch.device("cpu")))
    saved.save_state(1, engine, {"best": 0.5})
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        assert (tmp_path / "state-1").exists()

    monkeypatch.setattr(os, "fsync", fsync)
    saved.save_state(2, engine, {"best": 0.5})
    assert sorted(synced) == ["rank0.pt", "state.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["state-2"]
