"""What the tests of `stage=score` share: rows to score, and the stage in this process, in the working directory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alone import context
from budgetrl.rewards.reward import Reward
from budgetrl.runs.folder import read_rows
from budgetrl.settings.config import Config, load_config
from budgetrl.stages.score import run

Row = dict[str, Any]


def outcome(**changes: object) -> Row:
    """A row that says what a response came to."""
    return {"problem_id": "p", "well_formed": True, "correct": True, "budget": 100, "length": 90, **changes}


def completion(**changes: object) -> Row:
    """A row with a response that is yet to be graded, in the words of the mini tokenizer."""
    return {"problem_id": "p", "completion": r"3 = \boxed{ 3 }", "answer": "3", **changes}


def write(rows: Sequence[Row]) -> str:
    """Write rows to a file; returns its name."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "rows.jsonl"


def configured(
    reward: Reward | str, groups: Mapping[str, Mapping[str, object]] | None = None, **stage: object
) -> Config:
    """A configuration of the stage with these settings, and whatever other groups are to hold."""
    name = reward if isinstance(reward, str) else "accuracy"
    chosen = {"stage": {"name": "score", **stage}, "reward": {"name": name}, "tracking": {"name": "none"}}
    config = load_config({**chosen, **(groups or {})})
    return config if isinstance(reward, str) else replace(config, reward=reward)


def run_score(config: Config) -> tuple[list[Row], dict[str, float]]:
    """What the stage writes, and its result."""
    result = run(config.stage, config, context(Path("run")))
    return read_rows(Path("run/scores.jsonl")), result


def score(rows: Sequence[Row], reward: Reward | str, **stage: object) -> tuple[list[Row], dict[str, float]]:
    """What the stage writes for rows, and its result."""
    return run_score(configured(reward, input=write(rows), **stage))
