"""The format recorded in a checkpoint, and the format in which a stage prompts."""

import json
from pathlib import Path
from typing import Any

import pytest

from budgetrl.cli.request import read_request
from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.records import Outcome
from budgetrl.data.mini.shipped import CHECKPOINTS, shipped_folder, shipped_names
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.difficulty import DifficultyFormat
from budgetrl.formats.learned import LEARNED_FILE, LearnedFormat, read_learned_format, write_learned_format
from budgetrl.formats.plain import PlainFormat
from budgetrl.formats.registry import format_class, format_names, make_format
from budgetrl.planning.plan import make_plan
from budgetrl.settings.checkpoint import local_folder
from budgetrl.settings.config import Config, read_config, read_mapping
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.strict import ConfigError, build
from many_runs import prepare

TAGGED = DifficultyFormat(instruction="Which?", easy_tag="(e)", hard_tag="(h)", step_ends=(".", ";"))


@pytest.mark.parametrize("name", format_names())
def test_a_format_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    learned = LearnedFormat(make_format(name, {"close": "end", "transitions": ["so", "but"]}), "response")
    write_learned_format(tmp_path, learned)
    assert read_learned_format(tmp_path) == learned


def test_a_folder_without_the_file_learned_nothing(tmp_path: Path) -> None:
    assert read_learned_format(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 9}, "has version 9, but this budgetrl reads version 1"),
        (
            {"format": {"name": "my_missing.formats.Own"}},
            "there is no module 'my_missing'; install it or add",
        ),
        ({"format": {"name": "bugdet"}}, "there is no response format 'bugdet'; did you mean budget?"),
        ({"format": {"name": "plain", "closes": "x"}}, "closes: there is no such key; did you mean close?"),
        ({"format": {"name": "plain", "close": [7]}}, "close: must be text, got [7]"),
        ({"format": {"name": "plain", "transitions": 5}}, "transitions: must be a list, such as [5]"),
        ({"length": "bdy"}, "has length 'bdy', which is not one of body, response"),
        ({"format": {}}, "is not a valid budgetrl.json"),
        ({"format": None}, "is not a valid budgetrl.json"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write_learned_format(tmp_path, LearnedFormat(PlainFormat(), "body"))
    content = json.loads((tmp_path / LEARNED_FILE).read_text()) | change
    (tmp_path / LEARNED_FILE).write_text(json.dumps(content))
    with pytest.raises(RequestError) as caught:
        read_learned_format(tmp_path)
    assert str(caught.value).startswith(f"model.path: {tmp_path / LEARNED_FILE} ") and said in str(caught.value)


def test_the_shipped_checkpoints_say_what_the_settings_of_their_models_say(repo: Path) -> None:
    learned_by = {"base": "plain", "cold_start": "budget", "trained": "budget"}
    assert shipped_names() == [f"{family}/{one}" for family in ("mini", "mini_tradeoff") for one in learned_by]
    for path in shipped_names():
        family, _, one = path.partition("/")
        model = build(ModelSettings, read_mapping(repo / "conf" / "model" / f"{family}.yaml"), "model")
        expected = LearnedFormat(model.response_format(learned_by[one]), model.length)
        assert read_learned_format(CHECKPOINTS / path) == expected


def test_a_family_stands_for_the_checkpoint_that_fits_and_a_checkpoint_for_itself() -> None:
    assert shipped_folder("mini", "budget") == CHECKPOINTS / "mini" / "cold_start"
    assert shipped_folder("mini", "difficulty") == CHECKPOINTS / "mini" / "base"
    assert shipped_folder("mini/trained", "plain") == CHECKPOINTS / "mini" / "trained"


def test_the_settings_of_real_models_say_what_the_classes_say(repo: Path) -> None:
    told = read_mapping(repo / "conf" / "model" / "hf.yaml")["formats"]
    assert set(told) <= set(format_names())  # a format without an entry has what its class says
    for name, fields in told.items():
        assert make_format(name, fields) == format_class(name)()


# What a stage asks for


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """`plan(*words)`: the configuration and the plan of a request."""

    def call(*words: str) -> tuple[Config, dict[str, Any]]:
        folder = prepare(tmp_path / "run", *words)
        config = read_config(folder / "config.yaml")
        return config, make_plan(config)

    return call


def checkpoint(folder: Path, learned: LearnedFormat | None) -> Path:
    """A folder that looks like a checkpoint to a plan."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((CHECKPOINTS / "mini" / "base" / name).read_bytes())
    if learned:
        write_learned_format(folder, learned)
    return folder


@pytest.mark.parametrize("reward", ["budget_cosine", "kimi", "l1_max"])
@pytest.mark.parametrize(
    ("learned", "why"),
    [
        (LearnedFormat(TAGGED, "body"), "difficulty (learned by the checkpoint)"),
        (None, "plain (the checkpoint has no budgetrl.json)"),
    ],
)
def test_a_model_is_evaluated_in_the_format_that_it_learned(
    tmp_path: Path, plan: Any, learned: LearnedFormat | None, why: str, reward: str
) -> None:
    folder = checkpoint(tmp_path / "own", learned)
    config, planned = plan("stage=evaluate", f"model.path={folder}", f"reward={reward}")
    assert planned["stage"]["format"] == why
    assert config.stage.resolve_format(config) == (learned.format if learned else config.model.response_format("plain"))
    assert not [line for line in planned["warnings"] if "format" in line]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["stage=evaluate", "model.path=mini/cold_start", "stage.format=plain"],
            "stage.format: mini/cold_start learned the budget format, but is prompted in the plain format",
        ),
        (
            ["stage=evaluate", "model.path=mini/base", "stage.format=budget"],
            "model.path: mini/base learned the plain format, not the budget format",
        ),
        (
            ["stage=evaluate", "model.path=mini/trained", "model.length=response"],
            "model.length: mini/trained learned the budget format with length=body",
        ),
        (
            ["stage=grpo", "reward=adactrl", "model.path=mini/trained"],
            "model.path: mini/trained learned the budget format, not the difficulty format",
        ),
        (
            ["stage=grpo", "reward=budget_cosine", "model=hf", "model.path=some/model"],
            "model.path: no budgetrl.json says that some/model learned the budget format",
        ),
    ],
)
def test_another_format_than_the_learned_one_is_warned_of(plan: Any, words: list[str], said: str) -> None:
    _, planned = plan(*words)
    assert [line for line in planned["warnings"] if line.startswith(said)]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["reward=budget_cosine", "model.path=mini/base"], "budget"),
        (["reward=kimi", "model.path=mini/trained"], "budget"),
        (["reward=kimi", "model.path=mini/base"], "plain"),
        (["reward=kimi"], "plain"),
    ],
)
def test_training_asks_for_what_the_reward_reads_else_for_what_was_learned(
    plan: Any, words: list[str], asked: str
) -> None:
    config, planned = plan("stage=grpo", *words)
    assert config.stage.resolve_format(config).name == planned["stage"]["format"] == asked


@pytest.mark.parametrize(
    ("reward", "formats"),
    [
        ("budget_cosine", {"cold_start": "budget", "grpo": "budget", "initial": "plain", "trained": "budget"}),
        ("kimi", {"grpo": "plain", "initial": "plain", "trained": "plain"}),
        ("l1_max", {"grpo": "prompt_budget", "initial": "plain", "trained": "prompt_budget"}),
    ],
)
def test_the_parts_of_a_pipeline_agree(plan: Any, reward: str, formats: dict[str, str]) -> None:
    config, planned = plan(f"reward={reward}")
    parts = config.stage.parts(config)
    assert {name: part.format for name, part in parts.items() if name != "label"} == formats
    assert not [line for line in planned["warnings"] if "learned" in line]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stage.format=bugdet"], "stage.format: there is no response format 'bugdet'; did you mean budget?"),
        (["stage.format=my_missing.formats.Own"], "stage.format: cannot import 'my_missing.formats.Own'"),
        (["stage=cold_start", "stage.format=plain"], "stage.format: the plain format needs no teaching"),
        (
            ["stage=cold_start", "stage.format=difficulty", "stage.samples=1"],
            "stage.samples: the difficulty format compares",
        ),
        (
            ["stage=evaluate", "model.path=mini/base", "stage.budgets=[9]"],
            "stage.budgets: the plain format (the checkpoint",
        ),
        (["++model.formats.budget.instructions=x"], "model.formats.budget.instructions: there is no such key; did you"),
        (["++model.formats.bugdet.instruction=x"], "model.formats.bugdet: there is no response format 'bugdet'"),
        (
            ["model.formats.prompt_budget.instruction=x"],
            "model.formats.prompt_budget.instruction: must contain {budget}",
        ),
        (["model.formats.difficulty.easy_tag=' '"], "model.formats.difficulty.easy_tag: must not be blank"),
    ],
)
def test_what_cannot_work_is_refused_under_its_key(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_request(["stage=grpo", *words] if "stage=" not in "".join(words) else words)
    assert str(caught.value).startswith(said)


def test_a_shipped_checkpoint_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^model.path: there is no shipped checkpoint mini/trainde; did you mean"):
        local_folder(ModelSettings(path="mini/trainde"))


# What is taught


def outcomes(*rows: tuple[bool, int]) -> list[Outcome]:
    return [Outcome(well_formed=True, correct=correct, length=length) for correct, length in rows]


def test_budgets_are_taught_on_every_right_answer() -> None:
    group = outcomes((True, 9), (False, 5), (True, 7))
    assert BudgetFormat().select_for_teaching(group) == [0, 2]
    assert BudgetFormat().target(group[2], group, 8).around("x") == "<budget>8</budget><solution>x</solution>"


@pytest.mark.parametrize(
    ("right", "kept", "tag"),
    [(8, [0], "(e)"), (6, [0], "(e)"), (5, [4], "(h)"), (1, [0], "(h)"), (0, [], "(h)")],
)
def test_difficulty_is_taught_on_the_shortest_easy_and_the_longest_hard_answer(
    right: int, kept: list[int], tag: str
) -> None:
    group = outcomes(*((n < right, 10 + n) for n in range(8)))
    assert TAGGED.select_for_teaching(group) == kept
    assert TAGGED.target(group[0], group, 10).around(" x") == f"{tag} x"


def test_two_tags_must_differ() -> None:
    with pytest.raises(SettingError, match="^hard_tag: 'a ' is the same as easy_tag"):
        DifficultyFormat(easy_tag="a", hard_tag="a ")
