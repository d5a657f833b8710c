"""Decoding methods in whole runs: evaluation, training, user-defined methods, and rejected settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from budgetrl.cli.request import read_request
from budgetrl.core.errors import RequestError
from budgetrl.planning.plan import make_plan
from budgetrl.settings.config import Config
from many_runs import QUIET, read_rows

FEW = ["stage.problems=24", "dataset.levels=[2,3]"]


def call(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-m", "budgetrl", *words, *QUIET]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def config_of(*words: str) -> Config:
    config = read_request([*words, "mode=dry"]).config
    assert config is not None
    return config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stage=grpo", "decoding.top_p=0.9"], "decoding.top_p: .*different distribution"),
        (["stage=grpo", "decoding.min_tokens=3"], "decoding.min_tokens: .*different distribution"),
        (
            ["stage=pipeline", "decoding.repetition_penalty=1.1"],
            "decoding.repetition_penalty: .*different distribution",
        ),
        (["stage=evaluate", "decoding.top_p=0"], "decoding.top_p: must be above 0"),
        (["stage=evaluate", "decoding.stop_strings=['']"], "decoding.stop_strings: an empty string"),
        (["stage=evaluate", "decoding=two_budgets"], "decoding.thinking: 1024 plus .* max_new_tokens=420"),
        (["stage=evaluate", "decoding=budget_cap", "decoding.multiple=0"], "decoding.multiple: must be above 0"),
        (["stage=evaluate", "decoding=greedy"], "decoding: there is no option 'greedy'"),
        (["stage=grpo", "decoding.name=test_rollout_programs.InParts"], "decoding.name: .*sampling in training"),
        (
            ["stage=evaluate", "decoding=budget_cap", "rollout=openai", "rollout.model=m", "rollout.prompts=text"],
            "rollout: decoding=budget_cap needs an engine with token ids",
        ),
        (
            ["stage=evaluate", "decoding.top_k=3", "rollout=openai", "rollout.model=m", "rollout.prompts=text"],
            "rollout: decoding=sampling needs an engine with sampling options",
        ),
        (["stage=evaluate", "decoding.thinking=3"], "decoding.thinking: there is no such key"),
    ],
)
def test_invalid_settings_are_rejected_before_the_run_starts(words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_request([*words, "mode=dry"])


def test_the_plan_shows_decoding_settings_other_than_the_default(tmp_path: Path) -> None:
    plan = make_plan(config_of("stage=evaluate", "decoding.top_p=0.9", "stage.problems=5", f"run.dir={tmp_path}"))
    assert plan["run"]["decoding"] == "sampling, top_p 0.9"
    plan = make_plan(config_of("stage=evaluate", "stage.problems=5", f"run.dir={tmp_path}"))
    assert "decoding" not in plan["run"]


def test_a_method_with_an_intervention_is_rejected_for_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "steered.py").write_text(
        "from dataclasses import dataclass\n"
        "from budgetrl.decoding.sampling import PlainSampling\n"
        "@dataclass(frozen=True)\n"
        "class Steered(PlainSampling):\n"
        "    name: str = 'steered.Steered'\n"
        "    intervention = 'steered.Steer'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["stage=evaluate", "decoding.name=steered.Steered"]
    assert config_of(*words).decoding.name == "steered.Steered"
    with pytest.raises(RequestError, match="rollout: decoding=steered.Steered needs an engine with interventions"):
        config_of(*words, "rollout=openai", "rollout.model=m")


@pytest.mark.slow
def test_budget_cap_limits_the_length_of_every_response(tmp_path: Path) -> None:
    words = ["stage=evaluate", "decoding=budget_cap", "decoding.answer=3", "run.dir=capped", *FEW]
    done = call(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "capped" / "completions.jsonl")
    for row in rows:
        if row["well_formed"]:
            # 3: the inserted `answer_prefix`, a one-word answer, and its closing brace.
            assert row["length"] <= row["budget"] + 3
    result = json.loads((tmp_path / "capped" / "result.json").read_text())
    assert result["mini/tokens_spent"] > result["mini/length"] and result["mini/tokens_read"] == 0
    assert json.loads((tmp_path / "capped" / "plan.json").read_text())["run"]["decoding"].startswith("budget_cap")


TWO_BUDGETS = [
    "stage=grpo",
    "reward=accuracy",
    "stage.format=plain",
    "decoding=two_budgets",
    "decoding.thinking=40",
    "decoding.answer=8",
    "stage.steps=2",
    "stage.prompts_per_step=4",
    "stage.eval_problems=8",
    *FEW,
]


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["rollout=transformers"], ["launch.ranks=2", "zero=stage3"]])
def test_grpo_trains_with_two_budgets(tmp_path: Path, more: list[str]) -> None:
    """The metrics are the same on every engine, and on one or two ranks."""
    for words in ([], more):
        done = call(tmp_path, *TWO_BUDGETS, *words, f"run.dir={'more' if words else 'one'}")
        assert done.returncode == 0, done.stderr
        if not more:
            break
    one = read_rows(tmp_path / "one" / "metrics.jsonl")
    assert all(row["length"] <= 49 and row["tokens_spent"] <= 49 for row in one)
    if more:
        other = read_rows(tmp_path / "more" / "metrics.jsonl")
        for a, b in zip(one, other, strict=True):
            for key in ("reward", "length", "tokens_spent", "loss", "grad_norm"):
                assert a[key] == pytest.approx(b[key], rel=1e-3, abs=1e-5), key


@pytest.mark.slow
def test_the_user_defined_method_in_the_docs_works(repo: Path, tmp_path: Path) -> None:
    text = (repo / "docs/decoding.md").read_text()
    ((path, content),) = re.findall(r"```python\n# (my_package/decoding\.py)\n(.*?)```", text, re.S)
    (tmp_path / "my_package").mkdir()
    (tmp_path / path).write_text(content)
    (command,) = re.findall(r"^    budgetrl (.*BestOfTwo)$", text, re.M)
    for name, words in (("two", command.split()), ("one", ["stage=evaluate"])):
        done = call(tmp_path, *words, f"run.dir={name}", *FEW)
        assert done.returncode == 0, done.stderr
    two, one = (read_rows(tmp_path / name / "completions.jsonl") for name in ("two", "one"))
    assert all(a["tokens_spent"] > b["tokens_spent"] for a, b in zip(two, one, strict=True))
    assert sum(a["length"] for a in two) < sum(b["length"] for b in one)
