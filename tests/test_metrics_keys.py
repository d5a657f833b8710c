"""Keys of numbers: every typed one has a text of its own, and recorded runs keep the text they had."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.data.sources.mini import MiniSettings
from budgetrl.metrics.definitions import METRICS, is_metric
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import DURING_TRAINING, Aspect, Key, Part, PartKind, is_unambiguous, parse
from budgetrl.metrics.results import Results
from budgetrl.runs.parts import EVALUATIONS

ODD = ("a/b", "/", "a//b", "mini/", "accuracy", "x_se", "level_", "level_03", "pass_at_2", "eval", "trained", "ü")
datasets = (st.sampled_from(ODD) | st.text(min_size=1, max_size=8)).filter(is_unambiguous)
parts = st.builds(Part, st.sampled_from(PartKind), st.integers(-3, 10**6))


@st.composite
def keys(draw: st.DrawFn) -> Key:
    """Any key that an evaluation may write."""
    metric = draw(st.sampled_from(METRICS))
    dataset = draw(st.just("") | datasets)
    k = draw(st.integers(1, 10**4)) if metric.per_k else None
    evaluation = draw(st.sampled_from(("", *EVALUATIONS, DURING_TRAINING))) if dataset else ""
    return Key(metric.key, k, draw(st.none() | parts), dataset, evaluation)


@given(keys(), st.sampled_from(Aspect))
def test_a_key_is_read_as_it_was_written(key: Key, aspect: Aspect) -> None:
    assert parse(key.flat(aspect)) == (key, aspect)


segments = st.sampled_from([*ODD, "mini", "reward", "level_3", "accuracy_se", "verify", "unparsed"])


@given(st.text(max_size=20) | st.lists(segments).map("/".join))
def test_no_text_is_changed_by_reading_it(text: str) -> None:
    key, aspect = parse(text)
    assert key.flat(aspect) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy", Key("accuracy")),
        ("mini/budget_area", Key("budget_area", dataset="mini")),
        ("mini/budget_14/accuracy", Key("accuracy", part=Part(PartKind.BUDGET, 14), dataset="mini")),
        ("eval/held/out/length", Key("length", dataset="held/out", evaluation="eval")),
        ("initial/mini/verify/unparsed", Key("verify/unparsed", dataset="mini", evaluation="initial")),
        ("trained/accuracy", Key("accuracy", dataset="trained")),
        ("a/pass_at_16", Key("pass_at", 16, dataset="a")),
        ("pass_at", Key("pass_at")),
        ("loss", Key("loss")),
        ("budget_entropy", Key("budget_entropy")),
        ("time/rollout", Key("time/rollout")),
        ("reward/format", Key("reward/format")),
        ("mini/level_03/accuracy", Key("accuracy", dataset="mini/level_03")),
    ],
)
def test_keys_by_hand(text: str, expected: Key) -> None:
    assert parse(text) == (expected, Aspect.VALUE)


def test_errors_and_ends_belong_to_their_value() -> None:
    numbers = {"compression": 0.5, "compression_se": 0.1, "compression_low": 0.3, "compression_high": 0.7}
    results = Results.parse({f"mini/{key}": value for key, value in numbers.items()})
    assert results.of("mini").get("compression") == Estimate(0.5, 0.1, (0.3, 0.7))
    assert results.flat() == {f"mini/{key}": value for key, value in numbers.items()}
    assert Results.parse({"length": None, "length_se": 1.0}).estimates == {}


def test_an_evaluation_is_of_a_data_set() -> None:
    with pytest.raises(ValueError, match="needs a data set"):
        Key("accuracy", evaluation="trained")


@pytest.mark.parametrize("name", ["level_3", "math/level_3", "a/cutoff_64", "initial/mini", "eval/x", "reward"])
def test_a_data_set_with_the_name_of_a_part_is_found_out(name: str) -> None:
    assert not is_unambiguous(name)


def test_the_numbers_of_recorded_runs_are_written_as_they_were_read() -> None:
    """Results of stages before keys were typed, and rows of their metrics.jsonl."""
    recorded = json.loads((Path(__file__).parent / "fixtures" / "recorded_results.json").read_text())
    for name, numbers in recorded.items():
        written = Results.parse(numbers).flat()
        assert written == numbers, name
    keys = {key for text in recorded["pipeline"] | recorded["evaluate"] for key in [parse(text)[0]]}
    assert all(is_metric(key.metric) and key.dataset == "mini" for key in keys)
    assert not any(math.isnan(value) for numbers in recorded.values() for value in numbers.values())


def test_a_data_set_that_would_be_read_as_a_part_is_refused() -> None:
    with pytest.raises(ValueError, match="'math/level_3' would be mistaken for another part of a result key"):
        MiniSettings(name="math/level_3")
