"""Names of stages: built-in, the user's own, and misspelled."""

import re

import pytest

from budgetrl.settings.stages.registry import stage_class, stage_names
from budgetrl.stages.grpo import Grpo
from fake_stage import FakeStage

STAGES = ["cold_start", "evaluate", "grpo", "label", "pipeline", "pretrain", "report", "score"]


def test_a_built_in_by_name_and_by_path_and_one_of_the_users_own() -> None:
    assert stage_class("grpo") is stage_class("budgetrl.stages.grpo.Grpo") is Grpo
    assert stage_class("fake_stage.FakeStage") is FakeStage


def test_each_built_in_is_the_module_of_its_name() -> None:
    assert stage_names() == STAGES
    assert [stage_class(name)().name for name in STAGES] == STAGES


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grp", "name: there is no stage 'grp'; did you mean grpo?"),
        ("loop", "name: there is no stage 'loop'; there are cold_start, evaluate,"),
        ("base", "name: there is no stage 'base'; "),
        ("nope.Stage", "name: cannot import 'nope.Stage': there is no module 'nope'; install it or add its folder"),
        ("fake_stage.FakeStag", "name: fake_stage has no class 'FakeStag'; did you mean FakeStage?"),
        ("math.Missing", "name: math has no class 'Missing'; there are none"),
        ("math.pi", "name: math.pi is not a stage: derive it from budgetrl.stages.base.Stage"),
        ("budgetrl.stages.base.Stage", "name: budgetrl.stages.base.Stage is not a stage: derive it from"),
    ],
)
def test_what_is_no_stage_is_refused_with_the_nearest_name(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        stage_class(name)
