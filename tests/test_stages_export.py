"""Completions of evaluations as lm-evaluation-harness logs them."""

from pathlib import Path

import pytest

from alone import context
from budgetrl.core.errors import RequestError
from budgetrl.runs.folder import read_rows, write_lines
from budgetrl.settings.config import load_config
from budgetrl.stages.export import run
from scoring import completion, configured, outcome, run_score, score


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def export(runs: str) -> dict[str, float]:
    config = load_config({"stage": {"name": "export", "runs": runs}, "reward": {"name": "accuracy"}})
    return run(config.stage, config, context(Path("run")))


def test_an_evaluation_that_went_to_lm_eval_and_back_has_the_same_verdicts() -> None:
    """Two passes, the second with a given budget; what is exported is what completions.jsonl holds."""
    asked = {"p": ("5", [r"4 1 = \boxed{ 5 }", r"4 = \boxed{ 4 }"]), "q": ("12", [r"\boxed{ 12 }", "3 9"])}
    graded, _ = score(
        [
            completion(problem_id=name, completion=text, answer=answer, problem="a 4 ?")
            for name, (answer, texts) in asked.items()
            for text in texts
        ],
        "accuracy",
    )
    verdicts = [(row["problem_id"], row["correct"], row["length"]) for row in graded]
    rows = [{**row, "text": row["completion"], "dataset": "mini", "prefilled": b} for b in (None, 64) for row in graded]
    write_lines(Path("eval/completions.jsonl"), rows)
    Path("eval/config.yaml").write_text("stage: {name: evaluate, max_new_tokens: 60, temperature: 1.0}")
    Path("eval/result.json").write_text("{}")
    assert export("eval") == {"runs": 1.0}
    files = [Path("run/eval/samples_mini.jsonl"), Path("run/eval/samples_mini_budget_64.jsonl")]
    assert sorted(Path("run/eval").iterdir()) == files
    for file in files:
        assert [line["exact_match"] for line in read_rows(file)] == [0.5, 0.5]
        back, _ = run_score(configured("accuracy", input=str(file), input_format="lm_eval"))
        assert [(row["problem_id"], row["correct"], row["length"]) for row in back] == verdicts


def test_only_evaluations_have_samples_to_write() -> None:
    write_lines(Path("grpo/completions.jsonl"), [outcome()])
    Path("grpo/config.yaml").write_text("stage: {name: grpo}")
    Path("grpo/result.json").write_text("{}")
    with pytest.raises(RequestError, match="stage.runs: .*/grpo is not an evaluation; name runs of stage=evaluate"):
        export("grpo")
