"""Rewards in a training request: what cannot work is refused, what looks odd is noted, before anything starts."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from budgetrl import __main__ as entry


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Plans a GRPO run in an empty folder; gives back the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["budgetrl", "stage=grpo", "mode=dry", "run.dir=run", *words])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reward=aalc", "stage.eval_every=0"], "stage.eval_every: reward=aalc learns from evaluations"),
        (["reward=overlong", "reward.max_length=null"], "reward.cache: 4096 is not below max_length (420)"),
        (["reward=l1_max", "stage.format=plain"], "stage.format: reward=l1_max reads the prompt_budget format"),
        (["reward=adactrl", "stage.format=budget"], "stage.format: reward=adactrl reads the difficulty format"),
        (["reward=kimi", "stage.format=prompt_budget"], "stage.format: reward=kimi asks for no budget in the prompt"),
        (["reward=l1_max", "reward.form=blog"], "reward.form: 'blog' is not one of paper, code"),
        (["reward=thinkprune", "reward.limits=[]"], "reward.limits: there is none"),
    ],
)
def test_what_cannot_work_is_refused(
    plan: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert plan(*words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["reward=aalc"], ["reward.max_length", "reward.length_weight"]),
        (["reward=dast"], ["reward.max_length"]),
        (["reward=dast", "reward.max_length=null"], []),
        (["reward=overlong", "reward.max_length=null", "reward.cache=100"], []),
        (["reward=l1_exact", "reward.budget_high=300"], []),
    ],
)
def test_what_looks_odd_is_noted(plan: Callable[..., int], words: list[str], keys: list[str]) -> None:
    assert plan(*words) == 0
    notes = json.loads(Path("run/plan.json").read_text())["odd"]
    assert [note.split()[0] for note in notes if note.startswith("reward.")] == keys


def test_the_readmes_reward_in_a_package_of_its_own(
    plan: Callable[..., int], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to the files that their first lines name, and run with the command beside them."""
    text = (repo / "README.md").read_text()
    for path, content in re.findall(r"```(?:python|yaml)\n# (my_\S+)\n(.*?)```", text, re.S):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    (command,) = re.findall(r"^ +budgetrl (--config-dir my_conf .*reward=brief.*)$", text, re.M)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert plan(*command.split()) == 0
    assert "my_package.rewards.Brief" in Path("run/config.yaml").read_text()
