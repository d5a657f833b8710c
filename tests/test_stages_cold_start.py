"""What a cold start refuses to teach, before it samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Outcome
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.formats.base import Parsed, ResponseFormat, Target
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.difficulty import DifficultyFormat
from budgetrl.formats.registry import make_format
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import make_codec
from budgetrl.settings.config import load_config, read_mapping
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.stages.cold_start import ColdStart
from budgetrl.stages import cold_start
from budgetrl.stages.cold_start import check_writable

MINI = make_codec(make_tokenizer(), ModelSettings())


@dataclass(frozen=True)
class AnswerTag(ResponseFormat):
    """Teaches what `around` makes of its tag."""

    name: str = "my_package.AnswerTag"
    tag: str = "<go>"
    around: Callable[[str], Any] = lambda tag: Target((tag,))

    def parse(self, text: str) -> Parsed:
        return Parsed(text.startswith(self.tag), None, 0, len(text))

    def target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Any:
        return self.around(self.tag)


@pytest.mark.parametrize(
    ("fmt", "said"),
    [
        (
            AnswerTag(),
            "model.formats.my_package.AnswerTag.tag: the tokenizer of mini cannot write '<go>', which becomes '<pad>'; "
            "use words that it has",
        ),
        (
            AnswerTag(around=lambda tag: Target((), (f"no {tag}",))),
            "stage.format: the tokenizer of mini cannot write 'no <go>', which becomes ' no<pad>'",
        ),
        (
            DifficultyFormat(easy_tag="ok"),
            "model.formats.difficulty.hard_tag: the tokenizer of mini cannot write '[Hard]'",
        ),
        (DifficultyFormat(hard_tag="ok"), "model.formats.difficulty.easy_tag: "),
    ],
)
def test_words_that_the_tokenizer_lacks_are_refused(fmt: ResponseFormat, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_writable(fmt, MINI, 400)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ok", "returned a str"),
        (None, "returned a NoneType"),
        (Target("ok"), "returned before='ok', which is not a tuple of texts"),  # type: ignore[arg-type]
        (Target((), (5,)), "returned after=(5,), which is not a tuple of texts"),  # type: ignore[arg-type]
    ],
)
def test_a_target_that_is_none_is_refused(target: Any, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_writable(AnswerTag(around=lambda tag: target), MINI, 400)
    hint = 'return Target(("before",), ("after",))'
    assert str(caught.value) == f"stage.format: target() of my_package.AnswerTag {said}; {hint}"


@pytest.mark.parametrize(("name", "style"), [("budget", "grid"), ("budget", "digits"), ("difficulty", "grid")])
def test_the_mini_model_can_be_taught_the_built_in_formats(repo: Path, name: str, style: str) -> None:
    fields = read_mapping(repo / "conf" / "model" / "mini.yaml")["formats"][name]
    check_writable(make_format(name, fields), make_codec(make_tokenizer(style), ModelSettings()), 400)


@pytest.mark.parametrize("name", ["deepseek-r1-distill-qwen", "qwen2.5-instruct", "gpt2"])
@pytest.mark.parametrize("fmt", [BudgetFormat(), DifficultyFormat(), AnswerTag(), AnswerTag(tag="\n\nSo: ")])
def test_real_models_can_be_taught_any_format(shared_dir: Path, name: str, fmt: ResponseFormat) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared_dir / "tokenizers" / name)
    check_writable(fmt, TextCodec(tokenizer, ModelSettings(), [0]), 30_000)


def test_a_run_refuses_before_it_samples() -> None:
    model = {"formats": {"difficulty": {"easy_tag": "ok", "hard_tag": "go"}}}
    stage = {"name": "cold_start", "format": "difficulty"}
    config = load_config({"stage": stage, "reward": {"name": "accuracy"}, "model": model})
    assert isinstance(config.stage, ColdStart)
    # Anything after the check would fail on this context, which has nothing but a device.
    context: Any = SimpleNamespace(world=SimpleNamespace(device=torch.device("cpu")))
    with pytest.raises(RequestError, match=r"^model\.formats\.difficulty\.hard_tag: the tokenizer of mini cannot"):
        cold_start.run(config.stage, config, context)
