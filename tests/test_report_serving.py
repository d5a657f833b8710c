"""What a report says of using the model, tried with a tokenizer."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from budgetrl.data.mini.model import make_tokenizer
from budgetrl.policy.loading import make_codec
from budgetrl.report.reading import read_run
from budgetrl.report.sections import Gap, Section
from budgetrl.report.serving import serving
from budgetrl.settings.model import ModelSettings

WISHES = {
    "instruction": "= ok",
    "budget_instruction": "plan",
    "prompt_budget_instruction": "<budget>{budget}</budget>",
    "difficulty_instruction": "hmm",
}


def section(folder: Path, fmt: str, model: dict[str, Any]) -> str:
    """Of a run that trained a model in a format."""
    (folder / "checkpoints" / "last").mkdir(parents=True)
    OmegaConf.save({"stage": {"name": "grpo", "format": fmt}, "model": model}, folder / "config.yaml")
    part = serving(read_run(folder))
    assert isinstance(part, Section)
    return part.body


@pytest.mark.parametrize("wishes", [WISHES, {}])
@pytest.mark.parametrize(
    ("fmt", "budget", "own_start"),
    [
        ("plain", None, None),
        ("budget", None, '"<budget>200</budget>"'),
        ("prompt_budget", 200, None),
        ("difficulty", None, '"(easy)"'),
    ],
)
def test_the_snippet_makes_the_prompt_of_training(
    tmp_path: Path, fmt: str, budget: int | None, own_start: str | None, wishes: dict[str, str]
) -> None:
    spec = ModelSettings(**wishes, difficulty_tags=("(easy)", "(hard)"))
    text = section(tmp_path / "run", fmt, {**wishes, "difficulty_tags": ["(easy)", "(hard)"]})
    found = re.search(r"^question = .*?(?=^inputs = )", text, re.DOTALL | re.MULTILINE)
    assert found
    codec = make_codec(make_tokenizer("digits"), spec)
    names: dict[str, Any] = {"tokenizer": codec.tokenizer}
    exec(found[0], names)
    ids = codec.tokenizer.encode(names["prompt"], add_special_tokens=False)
    assert tuple(ids) == codec.prompt("...", spec.response_format(fmt), budget).all_ids
    assert re.findall(r"^# prompt \+= (\S+)", found[0], re.MULTILINE) == ([own_start] if own_start else [])


def test_a_run_without_a_checkpoint_has_nothing_to_serve(tmp_path: Path) -> None:
    assert serving(read_run(tmp_path)) == Gap("Use the model", "there is no checkpoint")
