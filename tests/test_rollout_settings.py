"""The `rollout` group: engines by name, what they can do, and what a stage may not ask of them."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from budgetrl.core.errors import SettingError
from budgetrl.planning.plan import make_plan
from budgetrl.rollout.engine import make_engine
from budgetrl.rollout.native import NativeEngine
from budgetrl.settings.config import errors, load_config
from budgetrl.settings.rollout.base import Capabilities, LocalSettings
from budgetrl.settings.rollout.native import NativeSettings
from budgetrl.settings.rollout.openai import OpenAISettings
from budgetrl.settings.rollout.registry import engine_names, rollout_class
from budgetrl.settings.rollout.transformers import TransformersSettings


class OwnSettings(LocalSettings):
    """A user's own: the native engine, of which is said that it cannot follow training."""

    engine: ClassVar[str] = "budgetrl.rollout.native.NativeEngine"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(local=True)


def test_engines_are_found_by_name() -> None:
    assert engine_names() == ["native", "openai", "transformers"]
    found = [rollout_class(name) for name in engine_names()]
    assert found == [NativeSettings, OpenAISettings, TransformersSettings]
    with pytest.raises(SettingError, match="name: there is no engine 'vlm'; there are native, openai, transformers"):
        rollout_class("vlm")


def test_a_users_own_engine_is_an_import_path() -> None:
    name = f"{__name__}.OwnSettings"
    config = load_config({"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "rollout": {"name": name}})
    assert isinstance(make_engine(config.rollout), NativeEngine)
    assert [message.key for message in errors(config)] == ["rollout"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "native", "batch_size": 0}, "rollout.batch_size: 0 is not a number 1 or more"),
        ({"name": "openai", "url": "localhost"}, "rollout.url: 'localhost' does not begin with http:// or https://"),
        ({"name": "openai", "prompts": "both"}, "rollout.prompts: 'both' is not one of ids, text"),
        ({"name": "openai", "batch_size": 3}, "rollout.batch_size: there is no such key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_config({"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}, "rollout": settings})


@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ({"name": "grpo"}, ["rollout"]),
        ({"name": "cold_start"}, ["rollout", "stage.check_problems"]),
        ({"name": "cold_start", "check_problems": 0}, []),
        ({"name": "label"}, []),
        ({"name": "evaluate"}, []),
    ],
)
def test_only_an_engine_that_follows_training_serves_stages_that_ask_for_it(stage: Mapping, keys: list[str]) -> None:
    parts = {"stage": stage, "reward": {"name": "accuracy"}}
    assert [message.key for message in errors(load_config({**parts, "rollout": {"name": "openai"}}))] == keys
    assert errors(load_config({**parts, "rollout": {"name": "transformers"}})) == []


def test_a_plan_has_memory_for_a_local_model_and_a_server_for_any_other() -> None:
    parts = {"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}, "launch": {"ranks": 1}}
    local = make_plan(load_config({**parts, "rollout": {"name": "native"}}))
    served = make_plan(load_config({**parts, "rollout": {"name": "openai", "concurrency": 5}}))
    assert "memory per rank" in local and "server" not in local
    assert "memory per rank" not in served
    assert served["server"] == {"url": "http://localhost:8000/v1", "requests at once": 5}
