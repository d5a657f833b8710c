"""Names of stages: built-in, the user's own, and misspelled."""

import importlib
import inspect
import pkgutil
import re

import pytest

import budgetrl.stages
from budgetrl.settings.stages.grpo import Grpo
from budgetrl.settings.stages.registry import stage_class, stage_names
from fake_stage import FakeStage

STAGES = [
    *("cold_start", "draw_reward", "evaluate", "export", "grpo", "label", "pipeline", "pretrain", "regrade"),
    *("report", "score"),
]


def test_a_built_in_by_name_and_by_path_and_one_of_the_users_own() -> None:
    assert stage_class("grpo") is stage_class("budgetrl.settings.stages.grpo.Grpo") is Grpo
    assert stage_class("fake_stage.FakeStage") is FakeStage


def test_each_built_in_is_the_module_of_its_name() -> None:
    assert stage_names() == STAGES
    assert [stage_class(name)().name for name in STAGES] == STAGES


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grp", "name: there is no stage 'grp'; did you mean grpo?"),
        ("loop", "name: there is no stage 'loop'; there are cold_start, draw_reward,"),
        ("base", "name: there is no stage 'base'; "),
        ("nope.Stage", "name: cannot import 'nope.Stage': there is no module 'nope'; install it or add its folder"),
        ("fake_stage.FakeStag", "name: fake_stage has no class 'FakeStag'; did you mean FakeStage?"),
        ("math.Missing", "name: math has no class 'Missing'; there are none"),
        ("math.pi", "name: math.pi is not a stage: derive it from budgetrl.settings.stages.base.StageSettings"),
        (
            "budgetrl.settings.stages.base.StageSettings",
            "name: budgetrl.settings.stages.base.StageSettings is not a stage: derive it from",
        ),
    ],
)
def test_what_is_no_stage_is_refused_with_the_nearest_name(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        stage_class(name)


@pytest.mark.parametrize("name", STAGES)
def test_each_built_in_has_what_executes_it(name: str) -> None:
    executor = importlib.import_module(stage_class(name).executor)
    assert executor.__name__ == f"budgetrl.stages.{name}"
    assert list(inspect.signature(executor.run).parameters) == ["stage", "config", "ctx"]


def test_nothing_but_stages_lies_beside_them() -> None:
    modules = [module.name for module in pkgutil.iter_modules(budgetrl.stages.__path__)]
    assert modules == STAGES
