"""Pipelines of methods with formats of their own: a length in the prompt, a difficulty tag, no tags at all."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from budgetrl.policy.loading import make_codec
from budgetrl.settings.model import ModelSettings
from many_runs import Start, finish_all, prepare, read_rows

pytestmark = pytest.mark.slow

TINY = [
    *("stage=pipeline", "dataset.size=14", "dataset.eval_size=7", "stage.steps=2", "stage.prompts_per_step=3"),
    *("stage.group_size=4", "stage.eval_every=1", "stage.grpo.eval_problems=7", "stage.grpo.log_every=1"),
    *("stage.evaluate.budgets=[24]", "stage.evaluate.budget_problems=7"),
]
LOW, HIGH = 16, 200
ASKED = [*TINY, "reward=l1_max", f"reward.budget_low={LOW}", f"reward.budget_high={HIGH}", "reward.alpha=0.004"]
RUNS = {
    "asked": ASKED,
    "asked_two_ranks": [*ASKED, "launch.ranks=2"],
    "tags": [*TINY, "reward=adactrl", "stage.cold_start.steps=2", "stage.cold_start.check_problems=7"],
    "plain": [*TINY, "reward=hapo", "stage.grpo.problems=3"],
    "plain_two_ranks": [*TINY, "reward=hapo", "stage.grpo.problems=3", "launch.ranks=2"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of RUNS in it, done."""
    root = tmp_path_factory.mktemp("formats")
    starts = []
    for name, overrides in RUNS.items():
        folder = prepare(root / name, *overrides)
        starts.append(Start(str(folder), ranks=2 if name.endswith("two_ranks") else 1, report=name == "plain"))
    finish_all(starts, root)
    return root


def by_problem(rows: list[dict[str, Any]]) -> dict[tuple[int, str], list[dict[str, Any]]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row.get("step", 0), row["problem_id"]].append(row)
    return groups


def test_only_the_parts_that_are_needed_run(runs: Path) -> None:
    parts = {name: {path.name for path in (runs / name).iterdir() if path.is_dir()} for name in RUNS}
    assert not parts["asked"] & {"cold_start", "label"} and not parts["plain"] & {"cold_start", "label"}
    assert "cold_start" in parts["tags"] and "label" not in parts["tags"]


def test_a_group_is_asked_for_one_length_and_problems_for_several(runs: Path) -> None:
    groups = by_problem(read_rows(runs / "asked" / "grpo" / "completions.jsonl"))
    asked = {key: {row["budget"] for row in group} for key, group in groups.items()}
    assert all(len(budgets) == 1 and min(budgets) >= LOW and max(budgets) <= HIGH for budgets in asked.values())
    assert len({min(budgets) for budgets in asked.values()}) > 2
    for group in groups.values():
        for row in group:
            worth = max(0.0, min(1.0, 0.004 * (row["budget"] - row["length"]) + 0.5))
            assert row["reward"] == pytest.approx(worth * (row["correct"] and row["well_formed"]))


def test_a_grid_of_lengths_can_be_asked_for(runs: Path) -> None:
    rows = read_rows(runs / "asked" / "trained" / "completions.jsonl")
    assert {row["budget"] for row in rows if row["prefilled"] == 24} == {24}
    assert len({row["budget"] for row in rows if row["prefilled"] is None}) > 2
    result = json.loads((runs / "asked" / "result.json").read_text())
    assert {"trained/mini/match_50", "trained/mini/budget_24/length", "mini/compression"} <= result.keys()


def test_tags_are_taught_on_one_answer_a_problem(runs: Path) -> None:
    folder = runs / "tags" / "cold_start"
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoints" / "last")
    spec = ModelSettings(formats={"difficulty": {"easy_tag": "ok", "hard_tag": "hmm"}})
    codec, fmt = make_codec(tokenizer, spec), spec.response_format("difficulty")
    for group in by_problem(read_rows(folder / "samples.jsonl")).values():
        assert len(group) == 8
        right = [row["length"] for row in group if row["correct"]]
        (kept,) = [row for row in group if row["kept"]]
        reading = codec.read(kept["response_ids"], fmt)
        assert reading.parsed.easy is (len(right) > 5)
        assert reading.length == (min(right) if reading.parsed.easy else max(right))


def test_a_length_is_remembered_for_each_problem_that_was_solved(runs: Path) -> None:
    groups = by_problem(read_rows(runs / "plain" / "grpo" / "completions.jsonl"))
    assert len(groups) == 6  # three problems, twice
    for (step, problem), group in groups.items():
        before = [row["length"] for row in groups[1, problem] if row["correct"] and row["well_formed"]]
        for row in group:
            wave = math.cos(math.pi / 2 * min(row["length"] / min(before), 2)) if step == 2 and before else 0.0
            right = row["correct"] and row["well_formed"]
            assert row["reward"] == pytest.approx(1 + max(wave, -0.7) if right else min(wave, 0.0))


@pytest.mark.parametrize("name", ["asked", "plain"])
def test_ranks_do_not_change_what_is_written(runs: Path, name: str) -> None:
    one, two = (read_rows(runs / folder / "grpo" / "completions.jsonl") for folder in (name, f"{name}_two_ranks"))
    keys = ("step", "problem_id", "text", "budget", "reward")
    assert [[row[key] for key in keys] for row in one] == [[row[key] for key in keys] for row in two]


def test_the_report_leaves_out_what_there_is_not(runs: Path) -> None:
    report = (runs / "plain" / "report.md").read_text()
    assert "## Budget adherence" not in report and "budget -" not in report and "<budget>200" not in report
