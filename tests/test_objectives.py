"""Supervised objectives: found by name, and one of the user's own from a file and a YAML to a trained model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from budgetrl.core.errors import SettingError
from budgetrl.objectives.registry import objective_class
from budgetrl.objectives.supervised import Supervised
from budgetrl.settings.config import load_config, read_config
from budgetrl.settings.strict import ConfigError
from many_runs import read_rows

FOCAL = '''\
"""An objective of the user's own."""

from dataclasses import dataclass

from budgetrl.core.checks import require_range
from budgetrl.objectives.base import Objective


@dataclass(frozen=True)
class Focal(Objective):
    """-w (1 - p)^gamma log p (Lin et al., arXiv 1708.02002): tokens that are likely already count for less."""

    gamma: float = 2.0
    """How much less; at 0 this is the usual loss."""

    def __post_init__(self) -> None:
        require_range(self, 0, 10, "gamma")

    def token_losses(self, logprobs, weights):
        return -(weights * (1 - logprobs.exp()) ** self.gamma * logprobs)
'''
PARTS = {"stage": {"name": "cold_start"}, "reward": {"name": "accuracy"}}
PRETRAIN = [
    *("stage=pretrain", "stage.steps=1", "stage.tokens_per_step=512", "dataset.eval_size=7"),
    *("launch.threads=1", "tracking=none"),
]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of the user's own and an option for it."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "objectives.py").write_text(FOCAL)
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "focal.yaml").write_text("name: my_package.objectives.Focal\ngamma: 2.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_names_that_are_no_objective_are_refused() -> None:
    with pytest.raises(SettingError, match=r"there is no objective 'supervise'; did you mean supervised\?"):
        objective_class("supervise")
    with pytest.raises(SettingError, match="Datum is not an objective"):
        objective_class("budgetrl.core.records.Datum")


def test_a_configuration_without_one_has_the_usual_loss() -> None:
    assert load_config(PARTS).objective == Supervised()


def test_the_settings_of_an_own_objective_are_checked_by_their_keys(own: Path) -> None:
    name = "my_package.objectives.Focal"
    assert vars(load_config(PARTS | {"objective": {"name": name, "gamma": 1}}).objective) == {
        "name": name,
        "gamma": 1.0,
    }
    with pytest.raises(ConfigError, match=r"^objective\.gamma: -1\.0 is not a number from 0 to 10"):
        load_config(PARTS | {"objective": {"name": name, "gamma": -1}})
    with pytest.raises(ConfigError, match=r"^objective\.gama: .* did you mean objective\.gamma"):
        load_config(PARTS | {"objective": {"name": name, "gama": 1}})


def test_the_gradient_of_the_usual_loss_is_that_of_cross_entropy() -> None:
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets, weights = torch.tensor([3, 0, 6, 2]), torch.full((4,), 1 / 4)
    logprobs = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    (ours,) = torch.autograd.grad(Supervised().token_losses(logprobs, weights).sum(), logits)
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, targets), logits)
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
def test_an_own_objective_trains_from_the_command_line(own: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(own), *sys.path])}
    losses = {}
    for objective in (["objective=focal"], ["objective=focal", "objective.gamma=0"], []):
        folder = own / f"run{len(losses)}"
        command = [sys.executable, "-m", "budgetrl", "--config-dir", str(own), *PRETRAIN, *objective]
        done = subprocess.run([*command, f"run.dir={folder}"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (row,) = read_rows(folder / "metrics.jsonl")
        config = read_config(folder / "config.yaml")
        losses[config.objective.name, getattr(config.objective, "gamma", None)] = row["loss"]
    usual = losses["supervised", None]
    assert losses["my_package.objectives.Focal", 0.0] == pytest.approx(usual)
    assert 0.5 * usual < losses["my_package.objectives.Focal", 2.0] < 0.999 * usual
