"""The model card of a checkpoint."""

import pytest

from budgetrl.policy.card import model_card
from budgetrl.settings.model import ModelSettings

FORMATS = {
    "plain": {"instruction": "Reason."},
    "budget": {"instruction": "Write <budget>n</budget> first."},
    "prompt_budget": {"instruction": "Use {budget} tokens."},
    "difficulty": {"instruction": "Call it [E] or [H].", "easy_tag": "[E]", "hard_tag": "[H]"},
}


@pytest.mark.parametrize(
    ("fmt", "asked", "start"),
    [
        ("plain", "Reason.", None),
        (
            "budget",
            "Write <budget>n</budget> first.",
            "<solution>...</solution>`: the budget comes before any thinking",
        ),
        ("prompt_budget", "Use {budget} tokens.", "Replace {budget} in the instruction"),
        ("difficulty", "Call it [E] or [H].", "begins with `[E]` or `[H]`, before any thinking"),
    ],
)
def test_a_model_card_says_how_its_model_was_asked(fmt: str, asked: str, start: str | None) -> None:
    model = ModelSettings("small", "own/small", formats=FORMATS)
    card = model_card(model, model.response_format(fmt), "gsm8k", 7, "a-run")
    assert "# small, stage a-run\n" in card
    assert "from `own/small` on `gsm8k` with seed 7." in card
    assert f"~~~text\n{asked}\n~~~" in card
    assert start is None or start in card


def test_a_model_without_an_instruction_is_asked_the_question_alone() -> None:
    model = ModelSettings(formats={"budget": {"instruction": ""}})
    card = model_card(model, model.response_format("budget"), "mini", 0, "a-run")
    assert "The prompt is the question alone." in card
