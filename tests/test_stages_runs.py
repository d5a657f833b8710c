"""Every stage on the mini model, from a command line to its results, at the smallest size that shows anything."""

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from budgetrl.data.mini.model import budget_grid
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.launch.start import relaunch
from budgetrl.policy.loading import make_codec
from budgetrl.settings.config import read_config, run_dir
from budgetrl.settings.model import ModelSettings
from many_runs import Start, call_entrypoint, finish_all, log_of, prepare, read_rows, without_times

pytestmark = pytest.mark.slow

DATA = ["dataset.size=28", "dataset.eval_size=14", "rollout.batch_size=32"]
GRPO = [
    *("stage=grpo", *DATA, "stage.steps=4", "stage.prompts_per_step=3", "stage.group_size=4"),
    *("stage.eval_every=3", "stage.log_every=1", "stage.save_every=2", "stage.tokens_per_device=600"),
    *("stage.optimizer.lr=1e-3", "stage.problems=14", "reward.alpha_end_at=0.65"),
]
SEVERAL = ["algorithm.optimizer_steps_per_rollout=2", "algorithm.kl.coefficient=0.1", "algorithm.kl.estimator=k3"]
ALGORITHMS = ("dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "sapo")
BRIEF = [
    *("stage.steps=2", "stage.problems=7", "stage.eval_every=0", "stage.eval_problems=4", "stage.save_every=9"),
    *("stage.prompts_per_step=2", "algorithm.optimizer_steps_per_rollout=2"),
]
DAPO = [  # in groups that are often all equal
    *(*GRPO[:-1], *BRIEF, "algorithm=dapo", "algorithm.groups.max_rollouts=3"),
    *("reward=accuracy", "stage.format=budget"),
]
HOT = "stage.temperature=1.5"  # so that the base model, too, is sometimes wrong
PRETRAIN = ["dataset.eval_size=7", "stage.optimizer.warmup_steps=0"]
RUNS = {
    "pretrain": ["stage=pretrain", "stage.steps=3", "stage.tokens_per_step=1024", *PRETRAIN],
    "cold_start": ["stage=cold_start", *DATA, "stage.steps=3", "stage.samples=2", "stage.check_problems=7", HOT],
    "label": ["stage=label", *DATA, "stage.samples=2", HOT],
    "grpo": GRPO,
    "two_ranks": [*GRPO, "zero=stage3", "launch.ranks=2"],
    "sequence": [*GRPO, "stage.steps=1", "algorithm.loss.level=sequence"],
    "several": [*GRPO, *SEVERAL],
    **{name: [*GRPO, *BRIEF, f"algorithm={name}"] for name in ALGORITHMS},
    "dapo": DAPO,
    "dapo_two_ranks": [*DAPO, "launch.ranks=2"],
    "evaluate": [
        "stage=evaluate",
        *DATA,
        "stage.samples=2",
        "stage.budgets=[14,80]",
        "stage.budget_problems=7",
        "stage.cutoffs=[16,64,400]",
    ],
    "drawing": ["stage=draw_reward", "stage.longest=500", "reward=kimi"],
}
TWO_RANKS = ("two_ranks", "dapo_two_ranks")
LEVELS = 7
EVALUATION = {"accuracy", "format", "length", "budget", "match_50", "match_25", "match_10", "truncated"}
STEP = {"step", "loss", "lr", "grad_norm", "time/tokens_per_second"}
GRPO_STEP = (
    STEP
    | EVALUATION
    | {
        *("reward", "reward/format", "reward/budget_penalty", "reward/adherence", "alpha", "entropy", "budget_entropy"),
        *("clip_fraction", "groups_equal", "b_max_finite", "verify/timeouts", "verify/unparsed"),
        *("mismatch", "mismatch_max", "mismatch_cut"),
    }
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of RUNS in it, done."""
    root = tmp_path_factory.mktemp("runs")
    starts = []
    for name, overrides in RUNS.items():
        prepare(root / name, *overrides)
        starts.append(Start(str(root / name), ranks=2 if name in TWO_RANKS else 1, report=name == "grpo"))
    finish_all(starts, root)
    prepare(root / "report", "stage=report", f"stage.runs={root}/se*")  # of runs that are finished
    finish_all([Start(str(root / "report"))], root)
    return root


def result_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "result.json").read_text())


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / "metrics.jsonl")


def test_pretrain_makes_a_model_from_nothing(runs: Path) -> None:
    rows = metrics_of(runs / "pretrain")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row.keys() >= STEP for row in rows)
    assert rows[0]["loss"] == pytest.approx(2.3 * math.log(156), rel=0.5)  # weights of 1 to 5, no knowledge
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "mini/accuracy" in result_of(runs / "pretrain")
    last = runs / "pretrain" / "checkpoints" / "last"
    assert AutoModelForCausalLM.from_pretrained(last).config.vocab_size == len(AutoTokenizer.from_pretrained(last))


def test_cold_start_learns_from_its_own_right_answers(runs: Path) -> None:
    folder = runs / "cold_start"
    samples = read_rows(folder / "samples.jsonl")
    assert Counter(Counter(row["problem_id"] for row in samples).values()) == {2: 28}
    kept = [row for row in samples if row["kept"]]
    assert 0 < len(kept) < len(samples)
    assert all(row["correct"] for row in kept)
    codec = make_codec(AutoTokenizer.from_pretrained(folder / "checkpoints" / "last"), ModelSettings())
    for row in kept:
        reading = codec.read(row["response_ids"], BudgetFormat())
        assert reading.parsed.well_formed
        assert reading.length == row["length"]
        assert reading.parsed.budget == codec.writable(row["length"])
    result = result_of(folder)
    assert result["sampled"] == 56
    assert result["kept"] == len(kept) / 56
    assert result.keys() >= EVALUATION - {"budget"}
    told = f"{100 * result['format']:.0f} % of the answers to held-out problems follow the budget format"
    assert f"{told}. GRPO learns little" in log_of(folder)  # three steps teach no format
    assert [row["step"] for row in metrics_of(folder)] == [1, 2, 3]


def test_label_has_a_reference_length_where_the_model_was_right(runs: Path) -> None:
    rows = read_rows(runs / "label" / "labels.jsonl")
    assert len(rows) == len({row["problem_id"] for row in rows}) == 28
    assert all((row["b_max"] is None) == (row["right"] == 0) for row in rows)
    finite = [row["b_max"] for row in rows if row["b_max"] is not None]
    assert 0 < len(finite) < 28
    assert set(finite) <= set(budget_grid())
    assert result_of(runs / "label") == {
        "problems": 28,
        "finite": len(finite) / 28,
        "b_max": pytest.approx(sum(finite) / len(finite)),
    }


@pytest.mark.parametrize("name", ["grpo", "two_ranks", "several"])
def test_grpo_writes_what_it_promises(runs: Path, name: str) -> None:
    folder = runs / name
    rows = metrics_of(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row.keys() >= GRPO_STEP for row in rows)
    evaluated = [row["step"] for row in rows if "eval/mini/accuracy" in row]
    assert evaluated == [3, 4]
    second = 1.0 if name == "several" else 1 - 0.9 / 3 / 0.65  # alpha is that of the rollout
    assert [row["alpha"] for row in rows] == pytest.approx([1.0, second, 0.1, 0.1])
    assert all(row["grad_norm"] > 0 for row in rows)
    assert rows[0]["mismatch_max"] < 1e-4
    result = result_of(folder)
    for key in ("accuracy", "format", "length", "match_25", "truncated"):
        assert {f"mini/{key}", f"mini/{key}_se"} <= result.keys()
        assert result[f"mini/{key}"] == rows[-1][f"eval/mini/{key}"]
    assert sum(key.startswith("mini/level_") and key.endswith("/length") for key in result) == LEVELS
    written = Counter(row["step"] for row in read_rows(folder / "completions.jsonl"))
    assert set(written) == {1, 2, 3, 4}
    assert (folder / "report.md").exists() == (name == "grpo")  # asked for there alone
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["best", "last"]


def test_a_grpo_completion_can_be_checked_from_its_row(runs: Path) -> None:
    rows = read_rows(runs / "grpo" / "completions.jsonl")
    assert len(rows) == 4 * 12
    labels = {r["problem_id"]: r["b_max"] for r in read_rows(runs / "grpo" / "labels.jsonl")}
    for row in rows:
        parsed = BudgetFormat().parse(row["text"].removesuffix("<eos>"))
        assert row["well_formed"] == (parsed.well_formed and not row["truncated"])
        assert row["budget"] == parsed.budget
        assert row["b_max"] == labels[row["problem_id"]]
        assert row["reward"] == pytest.approx(sum(v for k, v in row.items() if k.startswith("reward/")))
        boxed = re.findall(r"\\boxed\{ (\d+) \}", row["text"])
        if boxed:
            assert (row["correct"], row["parsed"]) == (boxed[-1] == row["answer"], True)
        assert row["timed_out"] is False
    assert any(row["reward"] > 0.5 for row in rows) and any(row["reward"] < 0 for row in rows)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_runs(runs: Path, name: str) -> None:
    rows = metrics_of(runs / name)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["grad_norm"] > 0 and math.isfinite(row["loss"]) and row["mismatch_cut"] == 0 for row in rows)
    assert rows[1]["ratio_max"] > 1 + 1e-4


def test_dapo_replaces_groups_that_teach_nothing(runs: Path) -> None:
    one, two = (without_times(metrics_of(runs / name)) for name in ("dapo", "dapo_two_ranks"))
    assert all(1 < row["rollouts"] <= 3 and row["groups_dropped"] > 0 for row in one)
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    texts = [
        [(row["problem_id"], row["text"]) for row in read_rows(runs / name / "completions.jsonl")]
        for name in ("dapo", "dapo_two_ranks")
    ]
    assert texts[0] == texts[1]


def test_two_ranks_under_zero_3_do_what_one_does(runs: Path) -> None:
    one, two = (read_rows(runs / name / "completions.jsonl") for name in ("grpo", "two_ranks"))
    texts = [[(row["step"], row["problem_id"], row["text"]) for row in rows] for rows in (one, two)]
    assert texts[0] == texts[1]
    for mine, theirs in zip(*(without_times(metrics_of(runs / n)) for n in ("grpo", "two_ranks")), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert result_of(runs / "grpo") == pytest.approx(result_of(runs / "two_ranks"), rel=1e-3, abs=1e-5)
    weights = [load_file(runs / name / "checkpoints" / "last" / "model.safetensors") for name in ("grpo", "two_ranks")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)


def test_several_steps_on_one_rollout(runs: Path) -> None:
    rows = metrics_of(runs / "several")
    rewards = [row["reward"] for row in rows]
    assert rewards[0] == rewards[1] != rewards[2] == rewards[3]
    assert [row["ratio_max"] for row in rows[::2]] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert all(row["ratio_max"] > 1.001 and row["kl_old"] > 0 for row in rows[1::2])
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert all(row["kl"] > 1e-6 for row in rows[1:])
    assert all("kl" not in row for row in metrics_of(runs / "grpo"))  # no penalty, no reference


def test_the_loss_level_changes_the_loss_and_nothing_before_it(runs: Path) -> None:
    (sequence,), token = metrics_of(runs / "sequence"), metrics_of(runs / "grpo")[0]
    for key in ("reward", "length", "entropy", "b_max_finite"):
        assert sequence[key] == token[key]
    assert sequence["loss"] != pytest.approx(token["loss"], rel=1e-3)
    assert sequence["grad_norm"] != pytest.approx(token["grad_norm"], rel=1e-3)


def test_evaluate_counts_every_completion(runs: Path) -> None:
    folder = runs / "evaluate"
    rows = read_rows(folder / "completions.jsonl")
    assert Counter(row["prefilled"] for row in rows) == {None: 28, 14: 14, 80: 14}
    free = [row for row in rows if row["prefilled"] is None]
    result = result_of(folder)
    assert result["mini/accuracy"] == pytest.approx(sum(row["correct"] for row in free) / 28)
    assert result["mini/length"] == pytest.approx(sum(row["length"] for row in free) / 28)
    for key in EVALUATION:
        assert {f"mini/{key}", f"mini/{key}_se"} <= result.keys()
    assert {f"mini/level_{level}/{key}" for level in (2, 16) for key in ("accuracy", "length")} <= result.keys()
    for budget, written in ((14, "14"), (80, "80")):
        given = [row for row in rows if row["prefilled"] == budget]
        assert all(re.match(rf"<budget> ?{written}</budget>", row["text"]) for row in given)
        assert result[f"mini/budget_{budget}/length"] == pytest.approx(sum(r["length"] for r in given) / 14)
    assert {"mini/budget_14/accuracy", "mini/budget_80/length_se", "mini/budget_area_se"} <= result.keys()
    assert {"mini/pass_at_2_se", "mini/maj_at_2", "mini/tokens_per_correct_se"} <= result.keys()
    controlled = {row["problem_id"] for row in rows if row["prefilled"]}
    ended = [row for row in free if row["correct"] and not row["truncated"] and row["problem_id"] in controlled]
    for cutoff in (16, 64, 400):
        right = sum(row["length"] <= cutoff for row in ended)
        assert result[f"mini/cutoff_{cutoff}/accuracy"] == pytest.approx(right / 14)
    assert all(row["given_answer"] == row["answer"] for row in free if row["correct"])


def test_the_code_that_a_report_gives_writes_an_answer(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (runs / "grpo" / "report.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    code = code.replace("'...'", "'a 4 b 2 ?'").replace('# prompt += "<budget>200', 'prompt += "<budget> 14')
    exec(code.replace("max_new_tokens=4096", "max_new_tokens=100"), {})
    written = capsys.readouterr().out
    assert written.startswith("<solution>") and "\\boxed{" in written


def test_report_compares_runs(runs: Path) -> None:
    assert result_of(runs / "report") == {"runs": 2}  # sequence and several
    assert "several" in (runs / "report" / "report.md").read_text()


def test_a_reward_is_drawn_without_any_run(runs: Path) -> None:
    assert result_of(runs / "drawing") == {}
    assert (runs / "drawing" / "figures" / "reward.png").stat().st_size > 1000


def test_a_finished_run_is_left_alone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (runs / "grpo").rglob("*")}
    assert call_entrypoint("tracking=none", f"run.dir={runs / 'grpo'}", *GRPO) == 0
    assert "already done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (runs / "grpo").rglob("*")} == before


def test_a_trained_checkpoint_is_served_by_transformers_alone(runs: Path) -> None:
    folder = runs / "grpo" / "checkpoints" / "last"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.use_cache
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: transformers")
    start = load_file(Path(str(make_path())) / "model.safetensors")
    trained = load_file(folder / "model.safetensors")
    assert start.keys() == trained.keys()
    assert any(not torch.equal(trained[name], tensor.float()) for name, tensor in start.items())
    row = next(r for r in read_rows(runs / "grpo" / "completions.jsonl") if r["well_formed"])
    chat = [{"role": "user", "content": row["problem"]}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert re.match(r"<budget> ?\d+</budget><solution> plan", tokenizer.decode(written))


def make_path() -> Path:
    from budgetrl.policy.loading import resolve_path

    return Path(resolve_path(ModelSettings(), BudgetFormat()))


PIPELINE = [
    *("tracking=none", "launch.ranks=2", "launch.threads=1", "dataset.size=28", "dataset.eval_size=14"),
    *("stage.steps=2", "stage.prompts_per_step=4", "stage.group_size=4", "stage.eval_every=0"),
    *("stage.cold_start.steps=3", "stage.cold_start.check_problems=7", "stage.grpo.eval_problems=7"),
    *("stage.evaluate.budgets=[14,80]", "stage.evaluate.budget_problems=7"),
]


def test_the_whole_story_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "story"
    command = [sys.executable, "-m", "budgetrl", f"run.dir={folder}", *PIPELINE]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = result_of(folder)
    for part in ("initial", "trained"):
        assert {f"{part}/mini/{key}" for key in ("accuracy", "length", "truncated", "accuracy_se")} <= result.keys()
    assert {"mini/compression", "mini/compression_se", "mini/accuracy_change", "trained/mini/match_50"} <= result.keys()
    assert "trained/mini/budget_80/length" in result and "initial/mini/budget_80/length" not in result
    lengths = [result[f"{part}/mini/length"] for part in ("initial", "trained")]
    assert result["mini/compression"] == pytest.approx(1 - lengths[1] / lengths[0])
    for part in ("cold_start", "label", "grpo", "initial", "trained"):
        assert (folder / part / "result.json").exists()
    assert [row["step"] for row in metrics_of(folder / "grpo")] == [1, 2]
    labels = {row["problem_id"]: row["b_max"] for row in read_rows(folder / "label" / "labels.jsonl")}
    assert all(r["b_max"] == labels[r["problem_id"]] for r in read_rows(folder / "grpo" / "completions.jsonl"))
    for row in read_rows(folder / "initial" / "completions.jsonl"):
        assert PlainFormat().parse(row["text"]).well_formed and "<budget>" not in row["text"]
    assert (folder / "report.md").exists() and list((folder / "figures").glob("*.png"))
    parts = {name: read_config(folder / name / "config.yaml") for name in ("grpo", "initial", "trained")}
    assert [part.stage.name for part in parts.values()] == ["grpo", "evaluate", "evaluate"]
    assert parts["initial"].model.path == "mini"
    assert parts["trained"].model.path == str(folder / "grpo" / "checkpoints" / "last")
    assert run_dir(parts["trained"]) == folder / "trained"
    plans = {name: json.loads((folder / name / "plan.json").read_text()) for name in parts}
    assert {name: plan["run"]["stage"] for name, plan in plans.items()} == {n: p.stage.name for n, p in parts.items()}
    assert relaunch(folder / "trained") == 0  # a part is a run, and this one is done
    assert "already done" in capsys.readouterr().err
    assert call_entrypoint(f"run.dir={folder}", *PIPELINE) == 0
    assert "already done" in capsys.readouterr().out
