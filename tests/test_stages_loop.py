"""What a checkpoint says about itself."""

import pytest

from budgetrl.config import load_config
from budgetrl.stages.loop import model_card

INSTRUCTIONS = {
    "instruction": "Reason.",
    "budget_instruction": "Write <budget>n</budget> first.",
    "prompt_budget_instruction": "Use {budget} tokens.",
    "difficulty_instruction": "Call it [Easy] or [Hard].",
}


@pytest.mark.parametrize(
    ("fmt", "asked", "start"),
    [
        ("plain", "Reason.", None),
        ("budget", "Write <budget>n</budget> first.", "`<budget>b</budget><solution>...</solution>`"),
        ("prompt_budget", "Use {budget} tokens.", "where the instruction says {budget}"),
        ("difficulty", "Call it [Easy] or [Hard].", "begins with `[Easy]` or `[Hard]`"),
    ],
)
def test_a_model_card_says_how_its_model_was_asked(fmt: str, asked: str, start: str | None) -> None:
    parts = {"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "accuracy"}, "model": INSTRUCTIONS}
    job = load_config(parts).job()
    card = model_card(job, job.model.response_format(fmt), "a-run")
    assert f"~~~text\n{asked}\n~~~" in card
    assert start is None or start in card
    assert ("ends the prompt with `<think>`, take that off" in card) is (fmt in ("budget", "difficulty"))


def test_a_model_without_an_instruction_is_asked_the_question_alone() -> None:
    job = load_config({"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "accuracy"}}).job()
    assert "The prompt is the question alone." in model_card(job, job.model.response_format("budget"), "a-run")
