"""What a measurement depends on is told by its hashes."""

from pathlib import Path

from budgetrl.data.mini.model import make_tokenizer
from budgetrl.policy.loading import load_tokenizer, make_codec
from budgetrl.rollout.provenance import measure_hash
from budgetrl.settings.model import ModelSettings


def test_lengths_are_of_one_measure_by_rule_and_vocabulary(tmp_path: Path) -> None:
    grid = make_tokenizer("grid")
    grid.save_pretrained(tmp_path)
    body, response = (ModelSettings(name=length, length=length) for length in ("body", "response"))
    ours = measure_hash(make_codec(grid, body))
    assert measure_hash(make_codec(load_tokenizer(str(tmp_path)), body)) == ours
    assert measure_hash(make_codec(grid, response)) != ours
    assert measure_hash(make_codec(make_tokenizer("digits"), body)) != ours
