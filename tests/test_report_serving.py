"""What a report says of using the model, tried with a tokenizer."""

import re
from pathlib import Path
from typing import Any

import pytest

from budgetrl.data.mini.model import make_tokenizer
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LearnedFormat, write_learned_format
from budgetrl.formats.registry import make_format
from budgetrl.policy.loading import make_codec
from budgetrl.report.reading import read_run
from budgetrl.report.sections import MissingSection, Section
from budgetrl.report.serving import serving
from budgetrl.settings.model import ModelSettings

FORMATS: dict[str, dict[str, str]] = {
    "plain": {"instruction": "= ok"},
    "budget": {"instruction": "plan"},
    "prompt_budget": {"instruction": "<budget>{budget}</budget>"},
    "difficulty": {"instruction": "hmm", "easy_tag": "(easy)", "hard_tag": "(hard)"},
}


def section(folder: Path, fmt: ResponseFormat) -> str:
    """Of a run that trained a model in a format."""
    checkpoint = folder / "checkpoints" / "last"
    checkpoint.mkdir(parents=True)
    write_learned_format(checkpoint, LearnedFormat(fmt, "body"))
    part = serving(read_run(folder))
    assert isinstance(part, Section)
    return part.body


@pytest.mark.parametrize("with_instruction", [True, False])
@pytest.mark.parametrize(
    ("name", "budget", "own_start"),
    [
        ("plain", None, None),
        ("budget", None, '"<budget>200</budget>"'),
        ("prompt_budget", 200, None),
        ("difficulty", None, '"(easy)"'),
    ],
)
def test_the_snippet_makes_the_prompt_of_training(
    tmp_path: Path, name: str, budget: int | None, own_start: str | None, with_instruction: bool
) -> None:
    silent = {} if with_instruction or name == "prompt_budget" else {"instruction": ""}
    fmt = make_format(name, FORMATS[name] | silent)
    text = section(tmp_path / "run", fmt)
    found = re.search(r"^question = .*?(?=^inputs = )", text, re.DOTALL | re.MULTILINE)
    assert found
    codec = make_codec(make_tokenizer("digits"), ModelSettings())
    names: dict[str, Any] = {"tokenizer": codec.tokenizer}
    exec(found[0], names)
    ids = codec.tokenizer.encode(names["prompt"], add_special_tokens=False)
    assert tuple(ids) == codec.prompt("...", fmt, budget).all_ids
    assert re.findall(r"^# prompt \+= (\S+)", found[0], re.MULTILINE) == ([own_start] if own_start else [])


def test_how_to_ask_a_checkpoint_that_does_not_say_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    part = serving(read_run(tmp_path))
    assert isinstance(part, MissingSection) and "no budgetrl.json" in part.reason


def test_a_run_without_a_checkpoint_has_nothing_to_serve(tmp_path: Path) -> None:
    assert serving(read_run(tmp_path)) == MissingSection("Use the model", "there is no checkpoint")
