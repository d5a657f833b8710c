"""What a measurement depends on is told by its hashes."""

from pathlib import Path

import pytest

from budgetrl.core.records import Problem
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.grading import provenance
from budgetrl.grading.provenance import evaluation_hashes, grader_hash, measure_hash
from budgetrl.policy.loading import load_tokenizer

PROBLEMS = [Problem("p", "2 3 ?", "5")]
SAMPLING = {"max_new_tokens": 9, "temperature": 1.0, "samples": 2}


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({}, set()),
        ({"problems": [Problem("p", "2 3 ?", "6")]}, {"problems"}),
        ({"prompts": ["<user> 2 3 ?"]}, {"prompt"}),
        ({"sampling": {**SAMPLING, "samples": 4}}, {"sampling"}),
        ({"measure": "response"}, {"measure"}),
    ],
)
def test_each_hash_is_of_one_thing(changed: dict, differs: set[str]) -> None:
    usual = {"problems": PROBLEMS, "prompts": ["2 3 ?"], "sampling": SAMPLING, "measure": "body"}
    one, other = evaluation_hashes(**usual), evaluation_hashes(**{**usual, **changed})
    assert {key for key in one if one[key] != other[key]} == differs


def test_lengths_are_of_one_measure_by_rule_and_vocabulary(tmp_path: Path) -> None:
    grid = make_tokenizer("grid")
    grid.save_pretrained(tmp_path)
    ours = measure_hash("body", grid.get_vocab())
    assert measure_hash("body", load_tokenizer(str(tmp_path)).get_vocab()) == ours
    assert measure_hash("response", grid.get_vocab()) != ours
    assert measure_hash("body", make_tokenizer("digits").get_vocab()) != ours


@pytest.mark.parametrize("what", ["version", "package"])
def test_the_grader_is_known_by_its_version_and_its_packages(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = grader_hash()
    if what == "version":
        monkeypatch.setattr(provenance, "GRADER_VERSION", provenance.GRADER_VERSION + 1)
    else:
        monkeypatch.setattr(provenance, "version", lambda package: f"{package} 99")
    assert grader_hash.__wrapped__() != ours
