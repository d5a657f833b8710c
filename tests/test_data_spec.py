"""The options of the dataset group: what is refused, and that the shipped ones are complete."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from budgetrl.data.mini.tasks import TASKS
from budgetrl.data.spec import DatasetSettings, Fields

JSONL = DatasetSettings(source="jsonl", path="train.jsonl")
HUB = DatasetSettings(source="hub", path="openai/gsm8k", split="train")


@pytest.mark.parametrize(
    ("spec", "change", "key"),
    [
        (JSONL, {"source": "parquet"}, "source"),
        (JSONL, {"answer_from": "hash"}, "answer_from"),
        (JSONL, {"on_bad_row": "ignore"}, "on_bad_row"),
        (JSONL, {"limit": 0}, "limit"),
        (JSONL, {"eval_limit": -1}, "eval_limit"),
        (JSONL, {"size": 0}, "size"),
        (JSONL, {"held_out": -1}, "held_out"),
        (JSONL, {"path": None}, "path"),
        (JSONL, {"split": "train"}, "split"),
        (JSONL, {"revision": "main"}, "revision"),
        (HUB, {"path": None}, "path"),
        (HUB, {"split": None}, "split"),
        (HUB, {"eval_path": "HuggingFaceH4/MATH-500"}, "eval_split"),
        (HUB, {"eval_revision": "main"}, "eval_revision"),
    ],
)
def test_bad_values_are_refused_by_name(spec: DatasetSettings, change: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        replace(spec, **change)  # pyright: ignore[reportArgumentType]


def test_a_jsonl_set_may_be_for_evaluation_only() -> None:
    assert replace(JSONL, path=None, eval_path="test.jsonl").has_eval_set


OPTIONS = sorted(path.stem for path in (Path(__file__).parents[1] / "conf" / "dataset").glob("*.yaml"))


def read(option: str, repo: Path) -> DatasetSettings:
    values = OmegaConf.to_container(OmegaConf.load(repo / "conf" / "dataset" / f"{option}.yaml"))
    assert isinstance(values, dict)
    expected = asdict(DatasetSettings())
    assert list(values) == list(expected)
    assert list(values["fields"]) == list(expected["fields"])
    values["path"] = values["path"] or ("train.jsonl" if values["source"] == "jsonl" else None)
    return DatasetSettings(**{**values, "fields": Fields(**values["fields"])})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("option", OPTIONS)
def test_shipped_options_list_every_field_and_are_sound(option: str, repo: Path) -> None:
    spec = read(option, repo)
    assert spec.name == option
    assert spec.source in TASKS or spec.has_eval_set or spec.held_out


def test_hub_sets_are_pinned(repo: Path) -> None:
    specs = [spec for option in OPTIONS if (spec := read(option, repo)).source == "hub"]
    revisions = {spec.name: spec.revision for spec in specs}
    assert revisions.pop("still3") == "main"  # the one whose commit is not known
    assert all(revision and len(revision) == 40 for revision in revisions.values())
    assert all(spec.eval_revision for spec in specs if spec.eval_path)
