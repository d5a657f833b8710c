"""Names of rewards: built-in, the user's own, and misspelled."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from budgetrl.core.records import Outcome
from budgetrl.rewards.budget_gauss import BudgetGauss
from budgetrl.rewards.registry import reward_class
from budgetrl.settings.config import load_config
from budgetrl.settings.strict import ConfigError

OWN_REWARDS = """
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Short(Reward):
    weight: float = 0.01

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        return {"length": [-self.weight * outcome.length for outcome in group]}


class NotOne:
    pass


@dataclass(frozen=True)
class Typo(Reward):
    def part(self, group: Sequence[Outcome], progress: float) -> Parts:
        return {}


class Undecorated(Short):
    bonus: float = 0.5


class OfUndecorated(Undecorated):
    pass


class Derived(Short):
    needs_b_max: ClassVar[bool] = True


@dataclass(frozen=True)
class Unannotated(Short):
    bonus = 0.5
"""


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "rewards.py").write_text(OWN_REWARDS)
    (package / "needy.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for module in [name for name in sys.modules if name.split(".")[0] == "own_package"]:
        del sys.modules[module]


def test_a_built_in_by_name_and_by_path() -> None:
    assert reward_class("budget_gauss") is BudgetGauss
    assert reward_class("budgetrl.rewards.budget_gauss.BudgetGauss") is BudgetGauss


@pytest.mark.usefixtures("own_package")
def test_the_users_own_reward() -> None:
    short = reward_class("own_package.rewards.Short")(name="own_package.rewards.Short")
    assert short([Outcome(True, True, length=100)], progress=0) == [-1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("budget_cosin", r"^name: there is no reward 'budget_cosin'; did you mean budget_cosine"),
        ("reward", r"^name: there is no reward 'reward'"),
        ("self_budgeter", r"^name: there is no reward 'self_budgeter'"),
        ("", r"^name: there is no reward ''.*there are .*accuracy, .*budget_cosine, budget_gauss"),
        (".short", r"^name: there is no reward '.short'"),
        ("own_package.rewards.Shart", r"^name: own_package.rewards has no class 'Shart'; did you mean Short"),
        ("own_package.rewards.NotOne", r"^name: own_package.rewards.NotOne is not a reward"),
        ("own_package.rewards.Typo", r"^name: own_package.rewards.Typo lacks parts\(\); define what is missing$"),
        (
            "own_package.rewards.Undecorated",
            r"Undecorated is not a dataclass, so bonus is not a field; put @dataclass\(frozen=True\) above the class",
        ),
        ("own_package.rewards.OfUndecorated", r"rewards.Undecorated is not a dataclass"),
        ("budgetrl.rewards.reward.Reward", r"^name: .* is not a reward"),
        ("own_package.reward.Short", r"^name: cannot import .*no module 'own_package.reward'"),
        ("no_such_package.rewards.Short", r"^name: cannot import .*no module 'no_such_package'"),
    ],
)
@pytest.mark.usefixtures("own_package")
def test_what_is_no_reward_is_refused_with_the_nearest_name(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward_class(name)


@pytest.mark.usefixtures("own_package")
def test_a_library_the_users_module_lacks_is_named_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        reward_class("own_package.needy.Short")


@pytest.mark.usefixtures("own_package")
def test_a_class_without_fields_of_its_own_needs_no_decorator() -> None:
    assert reward_class("own_package.rewards.Derived").needs_b_max


@pytest.mark.usefixtures("own_package")
def test_a_field_without_a_type_is_named() -> None:
    reward = {"name": "own_package.rewards.Unannotated", "bonus": 1.0}
    with pytest.raises(ConfigError, match=r"^reward\.bonus: Unannotated gives bonus no type, so it is not a field"):
        load_config({"stage": {"name": "grpo"}, "reward": reward})
    for key in ("parts", "needs_b_max", "bones"):
        with pytest.raises(ConfigError, match=rf"^reward\.{key}: there is no such key"):
            load_config({"stage": {"name": "grpo"}, "reward": {"name": reward["name"], key: 1}})
