"""The kinds of sources: what each refuses and knows before it is loaded, and that the shipped options are sound."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from budgetrl.core.checks import suggest_name
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.records import Problem
from budgetrl.data.mini.generated import GeneratedSettings, model_warnings
from budgetrl.data.sources.base import DatasetSettings, Loaded, Split
from budgetrl.data.sources.hub import KNOWN_ROWS, HubSettings
from budgetrl.data.sources.jsonl import JsonlSettings
from budgetrl.data.sources.mini import MiniSettings
from budgetrl.data.sources.mini_tradeoff import MiniTradeoffSettings
from budgetrl.data.sources.registry import source_class
from budgetrl.data.sources.rows import RowSettings
from budgetrl.settings.config import load_config
from budgetrl.settings.strict import ConfigError

JSONL = JsonlSettings(path="train.jsonl")
HUB = HubSettings(path="openai/gsm8k", split="train")
MINI = MiniSettings()
COMMIT = "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"
REQUIRED = {"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}}


@pytest.mark.parametrize(
    ("settings", "change", "key"),
    [
        (JSONL, {"answer_from": "hash"}, "answer_from"),
        (JSONL, {"on_bad_row": "ignore"}, "on_bad_row"),
        (JSONL, {"limit": 0}, "limit"),
        (HUB, {"eval_limit": -1}, "eval_limit"),
        (MINI, {"limit": 0}, "limit"),
        (MINI, {"size": 0}, "size"),
        (MINI, {"eval_size": 0}, "eval_size"),
        (JSONL, {"held_out": -1}, "held_out"),
        (JSONL, {"path": None}, "path"),
        (HUB, {"path": None}, "path"),
        (HUB, {"split": None}, "split"),
        (HUB, {"eval_path": "HuggingFaceH4/MATH-500"}, "eval_split"),
        (HUB, {"eval_revision": "main"}, "eval_revision"),
    ],
)
def test_bad_values_are_refused_by_name(settings: DatasetSettings, change: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingError) as caught:
        replace(settings, **change)
    assert caught.value.message.key == key


def test_a_jsonl_set_may_be_for_evaluation_only() -> None:
    assert replace(JSONL, path=None, eval_path="test.jsonl").has_eval_set


# Which class a configuration gets


@dataclass(frozen=True)
class Riddles(DatasetSettings):
    """A source of a user's own, in as few words as that takes."""

    difficulty: int = 1

    def read(self, split: Split) -> Loaded:
        riddles = [Problem(f"{split}-{n}", "1+1?", "2", self.difficulty, self.name) for n in range(3)]
        return Loaded(riddles)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("mini", MiniSettings),
        ("mini_tradeoff", MiniTradeoffSettings),
        ("jsonl", JsonlSettings),
        ("hub", HubSettings),
        ("test_data_sources.Riddles", Riddles),
    ],
)
def test_the_source_says_which_class_holds_the_settings(source: str, kind: type[DatasetSettings]) -> None:
    dataset = {"source": source, "name": "mine", "limit": 2}
    if issubclass(kind, RowSettings):
        dataset |= {"path": "some/place", "fields": {"problem": "question"}}
    if kind is HubSettings:
        dataset |= {"split": "train"}
    config = load_config(REQUIRED | {"dataset": dataset, "eval_datasets": {"exam": dataset}})
    assert type(config.dataset) is type(config.eval_datasets["exam"])
    assert type(config.dataset).__qualname__ == kind.__qualname__  # a test module is imported under two names
    assert (config.dataset.source, config.dataset.limit) == (source, 2)


def test_a_source_of_ones_own_needs_only_to_be_read() -> None:
    riddles = Riddles(name="riddles", limit=2, difficulty=4)
    assert [(p.id, p.level) for p in riddles.load("train").problems] == [("train-0", 4), ("train-1", 4)]
    assert (riddles.count("train"), riddles.count("train", 1), riddles.count("eval")) == (2, 1, None)
    assert not (riddles.missing("train") or riddles.unpinned("train") or riddles.rows_of_files("train"))


@pytest.mark.parametrize("name", ["parquet", "base", "rows", "registry"])
def test_a_source_that_is_not_there_is_refused_by_its_key(name: str) -> None:
    hint = suggest_name(name, ["hub", "jsonl", "mini", "mini_tradeoff"])
    for at in ("dataset", "eval_datasets.exam"):
        group, _, inner = at.partition(".")
        node = {"source": name}
        with pytest.raises(ConfigError) as caught:
            load_config(REQUIRED | {group: {inner: node} if inner else node})
        assert str(caught.value) == f"{at}.source: there is no data source {name!r}; {hint}"


@pytest.mark.parametrize(
    ("dataset", "key"),
    [
        ({"source": "mini", "path": "train.jsonl"}, "path"),
        ({"source": "jsonl", "path": "train.jsonl", "seed": 1}, "seed"),
        ({"source": "jsonl", "path": "train.jsonl", "revision": "main"}, "revision"),
        ({"source": "hub", "path": "a/b", "split": "train", "levels": [2]}, "levels"),
    ],
)
def test_a_key_of_another_kind_is_none(dataset: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}: there is no such key; "):
        load_config(REQUIRED | {"dataset": dataset})


# What is known before anything is loaded


def test_files_that_are_not_there_are_told_by_the_key_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n \n{}\n")
    there, gone = str(tmp_path / "train.jsonl"), str(tmp_path / "gone.jsonl")
    jsonl = JsonlSettings(path=there, eval_path=gone)
    assert jsonl.missing("train") == []
    assert jsonl.missing("eval") == [Message("eval_path", f"there is no file {gone}")]
    assert replace(jsonl, path=gone, eval_path=None).missing("eval") == [Message("path", f"there is no file {gone}")]
    assert jsonl.rows_of_files("train") == {Path(there): 2}
    assert jsonl.rows_of_files("eval") == {}

    hub = HubSettings(path=str(tmp_path), split="train", eval_path="./gone", eval_split="test")
    assert hub.missing("train") == []
    assert hub.missing("eval") == [Message("eval_path", "there is no folder gone")]
    assert hub.rows_of_files("train") == replace(HUB, eval_split="test").rows_of_files("eval") == {}
    assert HUB.missing("train") == []  # it may be on the Hub


def test_hub_sets_that_may_change_are_told_of() -> None:
    (told,) = HUB.unpinned("train")
    assert str(told).startswith("revision: hub is loaded at its newest version, which may change; pin")
    assert replace(HUB, revision=COMMIT).unpinned("train") == []
    two = replace(HUB, revision=COMMIT, eval_path="a/b", eval_split="test", eval_revision="main")
    assert two.unpinned("train") == []
    (told,) = two.unpinned("eval")
    assert str(told).startswith("eval_revision: hub is loaded at main, which may change")
    assert replace(HUB, path="./folder").unpinned("train") == []


def test_rows_of_published_splits_are_known() -> None:
    whole = replace(HUB, eval_split="test")
    assert (whole.size_of("train"), whole.size_of("eval")) == (7473, 1319)
    assert (whole.count("train", 100), replace(whole, eval_limit=7).count("eval")) == (100, 7)
    held_out = replace(HUB, held_out=73)
    assert (held_out.size_of("train"), held_out.size_of("eval")) == (7400, 73)
    assert replace(HUB, path="some/other").size_of("train") is None


@pytest.mark.parametrize(
    ("model", "datasets", "warned"),
    [
        ("mini", [MINI], False),
        ("mini", [MINI, JSONL], True),
        ("mini_tradeoff", [HUB], True),
        ("hf", [JSONL], False),
        ("mini", [], False),
    ],
)
def test_a_mini_models_settings_are_for_generated_problems(
    model: str, datasets: list[DatasetSettings], warned: bool
) -> None:
    assert [message.key for message in model_warnings(model, datasets)] == (["model"] if warned else [])


# The shipped options

CONF = Path(__file__).parents[1] / "conf" / "dataset"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))
BASES = {"hub": {"path": "a/b", "split": "train"}, "jsonl": {"path": "train.jsonl"}}
"""Options that need something more, and what."""


def composed(option: str) -> dict[str, Any]:
    """An option with the options that it inherits from, as Hydra puts them together."""
    values = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    whole: dict[str, Any] = {}
    for other in values.pop("defaults", ["_self_"]):
        layer = values if other == "_self_" else composed(other)
        fields = {**whole.get("fields", {}), **layer.get("fields", {})}
        whole |= layer
        if fields:
            whole["fields"] = fields
    return whole


def settings_of(option: str) -> DatasetSettings:
    config = load_config(REQUIRED | {"dataset": composed(option) | BASES.get(option, {})})
    return config.dataset


@pytest.mark.parametrize("option", OPTIONS)
def test_shipped_options_list_every_field_and_are_sound(option: str) -> None:
    settings, values = settings_of(option), composed(option)
    assert settings.name == option
    every = asdict(settings)
    assert values.keys() == every.keys()
    assert values.get("fields", {}).keys() == every.get("fields", {}).keys()
    if isinstance(settings, RowSettings) and option not in BASES:
        assert settings.has_eval_set or settings.held_out


@pytest.mark.parametrize("option", ["hub", "jsonl", "mini"])
def test_options_that_others_begin_with_hold_the_defaults(option: str) -> None:
    values, kind = composed(option) | BASES.get(option, {}), source_class(option)
    defaults = asdict(kind(**BASES.get(option, {})))
    differing = {key for key in values if values[key] != ([] if defaults[key] == () else defaults[key])}
    assert differing - {"fields"} == ({"held_out"} if option == "jsonl" else set())


def test_options_say_only_what_differs() -> None:
    for option in OPTIONS:
        values = yaml.safe_load((CONF / f"{option}.yaml").read_text())
        for other in values.pop("defaults", []):
            if other != "_self_":
                base = composed(other)
                assert not [key for key in values if key != "fields" and values[key] == base[key]]


def test_hub_sets_are_pinned_and_their_rows_known() -> None:
    found = [settings_of(option) for option in OPTIONS if option not in BASES]
    sets = {settings.name: settings for settings in found if isinstance(settings, HubSettings)}
    assert sets.pop("still3").revision == "main"  # the one whose commit is not known
    assert len(sets) == 8
    for settings in sets.values():
        assert not [*settings.unpinned("train"), *settings.unpinned("eval")]
        assert settings.size_of("eval")
    assert {path for path, _ in KNOWN_ROWS} == {
        settings.repository(s) for settings in found if isinstance(settings, HubSettings) for s in ("train", "eval")
    }


def test_mini_options_are_generated() -> None:
    for option in ("mini", "mini_tradeoff"):
        settings = settings_of(option)
        assert isinstance(settings, GeneratedSettings)
        assert (settings.count("train"), settings.count("eval")) == (2800, 1050)
