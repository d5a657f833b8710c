"""Completions that are scored: read, measured with a tokenizer alone, graded; those of other harnesses too."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest

from alone import context
from budgetrl.core.errors import RequestError
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.rewards.budget_cosine import BudgetCosine
from budgetrl.runs.stop import Stopped
from budgetrl.stages.score import run
from many_runs import call_entrypoint
from scoring import Row, completion, configured, outcome, run_score, score, write

R_B = -0.4
TIGHT = BudgetCosine(alpha_start=0.1, alpha_schedule="constant")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def test_a_completion_is_read_measured_and_graded() -> None:
    """With the tokenizer that the mini model has; the outcomes around show that both kinds mix."""
    text = r"<budget> 16</budget><solution> 3 = ok \boxed{ 3 }</solution>"
    rows = [
        outcome(problem_id="q"),
        completion(completion=text, answer=3, b_max=12, level=1),
        completion(completion=text, answer="4"),
        completion(completion=text, truncated=True),
        completion(),
        outcome(problem_id="q"),
    ]
    scored, result = score(rows, TIGHT)
    assert [row["problem_id"] for row in scored] == ["q", "p", "p", "p", "p", "q"]
    keys = ("well_formed", "correct", "budget", "length", "reward/budget_penalty")
    assert [tuple(row[key] for key in keys) for row in scored[1:5]] == [
        (True, True, 16, 6, R_B),
        (True, False, 16, 6, 0.0),
        (False, False, 16, 6, 0.0),  # cut off
        (False, True, None, 5, 0.0),
    ]
    assert (scored[1]["b_max"], scored[1]["level"], scored[3]["truncated"]) == (12, 1, True)
    assert result["verify/unparsed"] == 0.0


@pytest.mark.parametrize(("shift", "accuracy"), [(0, 1.0), (1, 0.0)])
def test_the_solutions_of_gsm8k_are_right_and_with_other_numbers_wrong(
    shared_dir: Path, shift: int, accuracy: float
) -> None:
    with (shared_dir / "data" / "gsm8k_train.jsonl").open() as file:
        problems = [json.loads(line) for line in islice(file, 100)]
    texts = [f"{p['solution']}\n#### {int(p['answer']) + shift}" for p in problems]
    rows = [
        completion(problem_id=p["id"], completion=text, answer=p["answer"])
        for p, text in zip(problems, texts, strict=True)
    ]
    model = {"name": "hf", "path": str(shared_dir / "tokenizers" / "deepseek-r1-distill-qwen")}
    _, result = run_score(configured("accuracy", {"model": model}, input=write(rows), format="plain"))
    assert (result["accuracy"], result["reward"], result["format"]) == (accuracy, accuracy, 1.0)
    assert 70 < result["length"] < 150
    assert "budget" not in result


@pytest.mark.slow
def test_a_folder_that_holds_a_tokenizer_alone_will_do() -> None:
    """Without weights and config.json: through the entrypoint, which reads what it can of a model, to the end."""
    make_tokenizer("digits").save_pretrained("tokenizer")
    assert not Path("tokenizer/config.json").exists()
    text = r"<budget>123</budget><solution> 3 = ok \boxed{ 3 }</solution>"
    words = [f"stage.input={write([completion(completion=text)])}", "reward=budget_cosine", "tracking=none"]
    assert call_entrypoint("stage=score", *words, "model=hf", "model.path=tokenizer", "run.dir=run") == 0
    (row,) = [json.loads(line) for line in Path("run/scores.jsonl").read_text().splitlines()]
    assert (row["correct"], row["well_formed"], row["budget"], row["length"]) == (True, True, 123, 6)


def test_a_real_tokenizer_alone_will_do(shared_dir: Path) -> None:
    source = shared_dir / "tokenizers" / "qwen2.5-instruct"
    Path("tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, "tokenizer")
    model = {"name": "hf", "path": "tokenizer"}
    (row,), _ = run_score(configured("accuracy", {"model": model}, input=write([completion()])))
    assert (row["correct"], row["length"]) == (True, 8)


@pytest.mark.parametrize(
    ("form", "file"), [("lm_eval", "lm_eval_samples.jsonl"), ("lighteval", "lighteval_details.jsonl")]
)
def test_what_other_harnesses_logged_is_graded_and_measured(repo: Path, form: str, file: str) -> None:
    fields = {"problem": "question", "level": None}
    gsm8k = {"source": "hub", "path": "openai/gsm8k", "split": "train", "fields": fields, "answer_from": "gsm8k"}
    path = str(repo / "tests" / "fixtures" / file)
    config = configured("accuracy", {"dataset": gsm8k}, input=path, input_format=form)
    assert config.stage.errors(config) == []
    scored, result = run_score(config)
    assert [(row["problem_id"], row["correct"], row["length"]) for row in scored] == [
        ("0", True, 13),
        ("0", False, 5),
        ("1", True, 12),
        ("1", True, 5),
    ]
    assert (result["accuracy"], result["groups"], result["pass_at_2"]) == (0.75, 2.0, 1.0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (completion(answer=r"\left("), r'answer: "\\left(" cannot be parsed; fix or remove the row'),
        (
            completion(completion="Natalia sold 3 clips."),
            "completion: the tokenizer of model.path=mini cannot represent this text; "
            "set model.path to the model that wrote it",
        ),
    ],
)
def test_a_completion_that_cannot_be_graded_is_named_and_nothing_is_written(row: Row, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        score([outcome(b_max=float("inf")), completion(), row, outcome()], TIGHT)
    assert str(caught.value) == f"rows.jsonl, line 3: {said}"
    assert not Path("run/scores.jsonl").exists()


def test_a_run_that_is_told_to_stop_stops() -> None:
    ctx, config = context(Path("run")), configured(TIGHT, input=write([completion()]))
    ctx.stop.request()
    with pytest.raises(Stopped):
        run(config.stage, config, ctx)
