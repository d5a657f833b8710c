"""Completions that other harnesses logged are read as what they are, and ours are logged as theirs.

The two files under fixtures were made by hand, with the fields that lm-evaluation-harness 0.4.13.dev0 and lighteval
0.13.1.dev0 write, in the words of the mini tokenizer: of two problems, two samples each.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import Table, parquet

from budgetrl.core.errors import RequestError
from budgetrl.data.reading import Fields
from budgetrl.data.samples import as_lm_eval, logged_completions
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.data.sources.hub import HubSettings
from budgetrl.data.sources.mini import MiniSettings

FIELDS = Fields(problem="question", level=None)
GSM8K = HubSettings(name="gsm8k", path="openai/gsm8k", split="train", fields=FIELDS, answer_from="gsm8k")
SAMPLING = {"max_gen_toks": 60, "temperature": 1.0}
WRITTEN = [
    ("0", "5", r"plan zero a 4 = 4 b 1 = 5 \boxed{ 5 }"),
    ("0", "5", r"4 = \boxed{ 4 }"),
    ("1", "12", r"a 3 = 3 b 9 = 12 ok \boxed{ 12 }"),
    ("1", "12", r"12 = \boxed{ 12 }"),
]
OURS: list[dict[str, Any]] = [
    {"problem_id": "p", "problem": "2+2?", "answer": "4", "level": 1, "text": "4", "correct": True},
    {"problem_id": "q", "problem": "2+3?", "answer": "5", "level": None, "text": "5", "correct": True},
    {"problem_id": "p", "problem": "2+2?", "answer": "4", "level": 1, "text": "five", "correct": False},
]


def logged(fixture: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in fixture.read_text().splitlines()]


@pytest.fixture
def lm_eval(repo: Path) -> Path:
    return repo / "tests" / "fixtures" / "lm_eval_samples.jsonl"


@pytest.fixture
def lighteval(repo: Path) -> Path:
    return repo / "tests" / "fixtures" / "lighteval_details.jsonl"


def read(path: Path, harness: str, dataset: DatasetSettings = GSM8K) -> list[tuple[Any, ...]]:
    rows = logged_completions(path, harness, dataset)
    return [(row["problem_id"], row["answer"], row["completion"]) for _, row in rows]


def test_samples_of_lm_eval_once_though_there_are_two_filters(lm_eval: Path) -> None:
    assert [line["filter"] for line in logged(lm_eval)] == ["strict-match"] * 2 + ["flexible-extract"] * 2
    assert read(lm_eval, "lm_eval") == WRITTEN
    assert [where for where, _ in logged_completions(lm_eval, "lm_eval", GSM8K)][1:3] == [
        f"{lm_eval}, line 1",
        f"{lm_eval}, line 2",
    ]


def test_the_gold_answer_may_be_the_target(lm_eval: Path) -> None:
    by_target = replace(GSM8K, fields=replace(GSM8K.fields, answer="target"))
    assert read(lm_eval, "lm_eval", by_target) == WRITTEN


def test_details_of_lighteval_as_json_and_as_parquet(lighteval: Path, tmp_path: Path) -> None:
    assert read(lighteval, "lighteval") == WRITTEN
    rows = [{**row, "doc": {**row["doc"], "specific": {"level": 3}}} for row in logged(lighteval)]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "details_gsm8k.parquet")
    assert read(tmp_path / "details_gsm8k.parquet", "lighteval") == WRITTEN


def changed(row: dict[str, Any], part: str, **changes: object) -> dict[str, Any]:
    return {**row, part: {**row[part], **changes}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: {**row, "doc": None}, "no field 'doc' (the fields are: arguments, doc, doc_hash"),
        (lambda row: {**row, "resps": []}, "resps: must hold the responses to one request; only generation tasks"),
        (lambda row: {**row, "resps": [[["-1.5", "True"]]]}, "resps: must be a list of strings; only generation tasks"),
        (lambda row: {**row, "doc_id": 0}, "problem '0' was already defined in samples.jsonl, line 1"),
        (lambda row: changed(row, "doc", answer="12"), "the answer field must end in `#### <answer>`"),
        (
            lambda row: {**row, "doc": {"q": "?"}},
            "no field 'question' (the fields are: q, target); set dataset.fields.problem=",
        ),
    ],
)
def test_a_bad_line_of_lm_eval_is_named(
    change: Any, said: str, lm_eval: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, *_ = logged(lm_eval)
    Path("samples.jsonl").write_text("\n".join(json.dumps(row) for row in (first, change(second))))
    with pytest.raises(RequestError) as caught:
        read(Path("samples.jsonl"), "lm_eval")
    assert str(caught.value).startswith(f"samples.jsonl, line 2: {said}")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("doc", {"gold_index": [0, 0]}, "doc.gold_index: [0, 0] must be the index of exactly one of"),
        ("doc", {"choices": []}, "doc.gold_index: 0 must be the index of exactly one of"),
        ("model_response", {"text": []}, "text: must be a list of strings"),
        ("model_response", {"reasonings": ["So 5."]}, "model_response.reasonings: the server split off the thinking"),
    ],
)
def test_a_bad_row_of_lighteval_is_named(
    part: str, changes: dict[str, object], said: str, lighteval: Path, tmp_path: Path
) -> None:
    first, second = logged(lighteval)
    path = tmp_path / "details.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in (first, changed(second, part, **changes))))
    with pytest.raises(RequestError) as caught:
        read(path, "lighteval")
    assert str(caught.value).startswith(f"{path}, line 3: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": the file has no rows"),
        ("{", ", line 1: not JSON ("),
        ("[1]", ", line 1: not a JSON object but list; each line must be one JSON object"),
    ],
)
def test_what_is_no_row_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text(text)
    with pytest.raises(RequestError, match=f"samples.jsonl{said}".replace("(", r"\(")):
        read(tmp_path / "samples.jsonl", "lm_eval")


def test_the_other_harness_is_asked_after(lighteval: Path) -> None:
    with pytest.raises(RequestError, match=r"line 1: no field 'resps' .* check stage.input_format"):
        read(lighteval, "lm_eval")


def test_ours_as_lm_eval_has_its_fields_and_what_a_problem_repeats(lm_eval: Path) -> None:
    first, second = as_lm_eval(OURS, SAMPLING)
    assert list(first) == list(logged(lm_eval)[0])
    assert (first["doc_id"], first["target"], first["resps"], first["exact_match"]) == (0, "4", [["4", "five"]], 0.5)
    assert (second["doc_id"], second["filtered_resps"], second["exact_match"]) == (1, ["5"], 1.0)
    assert first["arguments"] == {"gen_args_0": {"arg_0": "2+2?", "arg_1": SAMPLING}}


def test_the_hashes_are_made_as_theirs(lm_eval: Path) -> None:
    theirs = logged(lm_eval)[0]
    assert theirs["target_hash"] == "aa5ff7aed18f52dd563fab0ac72233dc97c42378c27e1e1ec76d4be3d7b79fb3"
    ours, _ = as_lm_eval([{**OURS[0], "answer": theirs["target"]}, OURS[1]], SAMPLING)
    assert ours["target_hash"] == theirs["target_hash"]


def test_ours_come_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in as_lm_eval(OURS, SAMPLING)))
    back = [row for _, row in logged_completions(path, "lm_eval", MiniSettings())]
    assert back == [
        {**{key: row[key] for key in ("problem_id", "problem", "answer", "level")}, "completion": row["text"]}
        for row in (OURS[0], OURS[2], OURS[1])
    ]
