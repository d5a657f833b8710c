"""`auto` becomes numbers that fit the model and the ranks; other settings do not change."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2Config

from budgetrl.planning.auto import resolve_auto
from budgetrl.planning.plan import make_plan
from budgetrl.settings.auto import Rule
from budgetrl.settings.config import Config, load_config
from budgetrl.settings.strict import ConfigError


def request(**changes: Any) -> dict[str, Any]:
    stage = {"name": "grpo", "max_new_tokens": "auto", "format": "auto"}
    return {"stage": stage, "reward": {"name": "accuracy"}, "launch": {"ranks": 1}, **changes}


def settled(given: dict[str, Any]) -> Config:
    auto_keys: dict[str, Rule] = {}
    return resolve_auto(load_config(given, auto_keys), auto_keys)


LONGEST = Rule.COMPLETION.value


@pytest.mark.parametrize(("context", "longest"), [(32768, LONGEST), (8704, 7680), (2048, 1536), (None, LONGEST)])
def test_completions_fit_the_models_context_beside_the_prompt(
    tmp_path: Path, context: int | None, longest: int
) -> None:
    if context:
        Qwen2Config(max_position_embeddings=context).save_pretrained(tmp_path)
    path = str(tmp_path) if context else "not/here-yet"
    stage = settled(request(model={"path": path})).stage
    assert (stage.max_new_tokens, stage.format) == (longest, "auto")  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("ranks", "offloads", "stage"),
    [(1, [], 0), (2, [], 2), (1, ["optimizer"], 2), (2, ["parameters"], 3)],
)
def test_zero_follows_from_ranks_and_offloading(ranks: int, offloads: list[str], stage: int) -> None:
    zero = {"stage": "auto", **{f"offload_{part}": True for part in offloads}}
    assert settled(request(zero=zero, launch={"ranks": ranks})).zero.stage == stage


def test_numbers_stay_and_a_wrong_key_is_named() -> None:
    given = request(zero={"stage": 1}, stage={"name": "grpo", "max_new_tokens": 77})
    assert settled(given) == load_config(given)
    with pytest.raises(ConfigError, match="stage.stepz: there is no such key"):
        settled(request(stage={"name": "grpo", "max_new_tokens": "auto", "stepz": 1}))


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ({"name": "grpo", "steps": "auto"}, "stage.steps"),
        ({"name": "pipeline", "label": {"samples": "auto"}}, "stage.label.samples"),
    ],
)
def test_what_has_no_rule_cannot_be_auto(stage: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: must be a whole number, got 'auto'"):
        settled(request(stage=stage))


def test_a_frozen_run_has_only_numbers() -> None:
    with pytest.raises(ConfigError, match="stage.max_new_tokens: must be a whole number, got 'auto'"):
        load_config(request())


def test_a_pipelines_key_and_that_of_the_part_it_is_passed_to_are_settled_alike() -> None:
    """Where they differ the pipeline is refused."""
    stage = {"name": "pipeline", "tokens_per_device": "auto", "grpo": {"tokens_per_device": "auto"}}
    config = settled(request(stage=stage, model={"path": "not/here-yet"}))
    found = config.stage
    assert found.tokens_per_device == found.grpo.tokens_per_device == 16384  # pyright: ignore


@pytest.mark.parametrize(("length", "told"), [(768, False), (769, True)])
def test_completions_that_crowd_the_prompt_out_of_the_context_are_warned_of(length: int, told: bool) -> None:
    """The mini model reads 1,024 tokens, of which a quarter is left to the prompt."""
    stage = {"name": "pipeline", "evaluate": {"max_new_tokens": length}}
    plan = make_plan(load_config(request(stage=stage)))
    said = f"stage.evaluate.max_new_tokens: {length} leaves too little of the model's context of 1024 tokens"
    assert any(line.startswith(said) for line in plan["warnings"]) is told
    assert plan["run"]["tokens per completion, at most"] == length


def test_the_plan_counts_the_rows_of_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n\n{}\n{}")
    dataset = {"source": "jsonl", "path": str(tmp_path / "train.jsonl"), "held_out": 1}
    plan = make_plan(load_config(request(stage={"name": "grpo"}, dataset=dataset)))
    assert plan["run"]["rows in files"] == "train.jsonl 3"


def test_the_plan_of_a_file_says_how_many_tokens_are_written(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n\n{}\n{}")
    dataset = {"source": "jsonl", "path": str(tmp_path / "train.jsonl"), "held_out": 1}
    stage = {"name": "label", "samples": 5, "max_new_tokens": 7}
    plan = make_plan(load_config(request(stage=stage, dataset=dataset)))
    assert plan["tokens"]["generated, at most"] == 2 * 5 * 7
