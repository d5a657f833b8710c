"""A small Qwen2 with the tokenizer of DeepSeek-R1-Distill goes through every stage on GSM8K problems.

A random model is never right, and cold_start says so. So the model is taught one sentence first, whose answer
is right for some problems: what it then samples, keeps, labels, learns and is rewarded for is all its own.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.policy.loading import load_tokenizer, make_codec
from budgetrl.policy.module import PolicyModule
from budgetrl.settings.model import ModelSettings
from budgetrl.training.batching import collate
from many_runs import Start, log_of, prepare, read_rows, start_all

pytestmark = pytest.mark.slow

ROWS_OF_EMBEDDINGS = 152_064
"""As in the published models; the tokenizer has 151,665 tokens."""
ANSWER, RIGHT, WRONG, HELD_OUT = "20", 14, 7, 5
SENTENCE = f"It is {ANSWER}.\n</think>\n\n\\boxed{{{ANSWER}}}"
PLAIN, BUDGET = PlainFormat(instruction="Box it."), BudgetFormat(instruction="Budget first.")
MODEL = ["model=hf"] + [f"model.formats.{fmt.name}.instruction={fmt.instruction}" for fmt in (PLAIN, BUDGET)]
PIPELINE = [
    *("stage=pipeline", *MODEL, "dataset=jsonl", f"dataset.held_out={HELD_OUT}", "reward=budget_cosine"),
    *("stage.steps=2", "stage.prompts_per_step=3", "stage.group_size=4", "stage.tokens_per_device=800"),
    *("stage.eval_every=0", "stage.grpo.max_new_tokens=60", "stage.grpo.optimizer.lr=1e-3"),
    *("stage.grpo.temperature=0.8", "stage.cold_start.temperature=0.8", "stage.cold_start.max_new_tokens=40"),
    *("stage.cold_start.steps=100", "stage.cold_start.tokens_per_step=110", "stage.cold_start.optimizer.lr=2e-2"),
    *("stage.cold_start.optimizer.warmup_steps=5", "stage.label.max_new_tokens=40", "stage.label.samples=1"),
    *("stage.evaluate.max_new_tokens=60", "stage.evaluate.budgets=[20]"),
]


@pytest.fixture(scope="module")
def problems(shared_dir: Path) -> list[dict[str, Any]]:
    """GSM8K problems, two in three of which have the answer the model will know; short ones, to be quick."""
    with open(shared_dir / "data" / "gsm8k_train.jsonl") as file:
        rows = sorted(map(json.loads, file), key=lambda row: len(row["problem"]))
    right = [row for row in rows if row["answer"] == ANSWER]
    wrong = [row for row in rows if row["answer"] != ANSWER]
    return [*right[:RIGHT], *wrong[:WRONG]]


@pytest.fixture(scope="module")
def models(shared_dir: Path, problems: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`random` and `taught`: folders as a user has them."""
    root = tmp_path_factory.mktemp("models")
    config = Qwen2Config(
        vocab_size=ROWS_OF_EMBEDDINGS,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=151646,
        eos_token_id=151643,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config).float()
    save(model, root / "random", shared_dir)
    teach(model, root / "random", [row["problem"] for row in problems])
    save(model, root / "taught", shared_dir)
    return root


def save(model: Qwen2ForCausalLM, folder: Path, shared_dir: Path) -> None:
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shared_dir / "tokenizers" / "deepseek-r1-distill-qwen" / name, folder)


def teach(model: Qwen2ForCausalLM, folder: Path, questions: Sequence[str]) -> None:
    """Fit the model to SENTENCE, whatever it is asked."""
    codec = make_codec(AutoTokenizer.from_pretrained(folder), ModelSettings("taught", str(folder)))
    response = (*codec.tokenizer.encode(SENTENCE, add_special_tokens=False), codec.stop_ids[0])
    policy, nowhere = PolicyModule(model), torch.empty(0, dtype=torch.long)
    steps = 40
    adam = torch.optim.Adam(model.parameters(), lr=3e-2, betas=(0.9, 0.95))
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.05, steps)
    for step in range(steps):
        prompt = codec.prompt(questions[step % len(questions)], PLAIN)
        batch = collate([(prompt.all_ids, response, ())])
        logprobs, _ = policy(batch.input_ids, batch.rows, batch.columns, nowhere)
        adam.zero_grad()
        (-logprobs.mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        falling.step()


@pytest.fixture(scope="module")
def root(models: Path, problems: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`taught`, a pipeline that is done, and `random`, a cold start that had nothing to learn from."""
    root = tmp_path_factory.mktemp("real")
    data = root / "gsm8k.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in problems))
    prepare(root / "taught", *PIPELINE, f"model.path={models / 'taught'}", f"dataset.path={data}")
    one = ["stage=cold_start", "model=hf", "dataset=jsonl", "dataset.held_out=1", "dataset.limit=3"]
    prepare(
        *(root / "random", *one, "stage.max_new_tokens=8"),
        *(f"model.path={models / 'random'}", f"dataset.path={data}"),
    )
    codes = start_all([Start(str(root / "taught")), Start(str(root / "random"))], root)
    assert codes == [[0], [2]], log_of(root / "taught") + log_of(root / "random")
    return root


def test_a_model_that_is_never_right_is_told_so(root: Path) -> None:
    said = log_of(root / "random")
    assert "budgetrl: the model gave no correct answer in 3 samples, so there is nothing to train on" in said
    assert "Traceback" not in said


def test_the_cold_start_keeps_the_models_own_right_answers(root: Path, models: Path) -> None:
    rows = read_rows(root / "taught" / "cold_start" / "samples.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(models / "taught")
    kept = [row for row in rows if row["kept"]]
    assert len(rows) == (RIGHT + WRONG - HELD_OUT) and 0 < len(kept) < len(rows)
    pattern = r"<budget>(\d+)</budget><solution>(<think>\n.*)</solution>"  # what the template began, it goes on
    for row in kept:
        prompt, response = (tokenizer.decode(row[key]) for key in ("prompt_ids", "response_ids"))
        assert prompt.endswith("<｜Assistant｜>") and "<think>" not in prompt
        assert row["prompt_ids"].count(tokenizer.bos_token_id) == 1
        assert row["response_ids"][-1] == tokenizer.eos_token_id
        read = re.fullmatch(pattern, response.removesuffix(tokenizer.eos_token), re.DOTALL)
        assert read and int(read[1]) == row["length"]
        assert len(tokenizer.encode(read[2], add_special_tokens=False)) == pytest.approx(row["length"], abs=2)


def test_labels_are_finite_where_the_model_was_right(root: Path, problems: list[dict[str, Any]]) -> None:
    gold = {row["id"]: row["answer"] for row in problems}
    labels = {r["problem_id"]: r["b_max"] for r in read_rows(root / "taught" / "label" / "labels.jsonl")}
    assert len(labels) == RIGHT + WRONG - HELD_OUT
    assert all(b_max is None for name, b_max in labels.items() if gold[name] != ANSWER)
    assert any(b_max is not None for b_max in labels.values())


def test_grpo_trains_on_what_the_cold_start_wrote(root: Path) -> None:
    rows = read_rows(root / "taught" / "grpo" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["mismatch_max"] < 1e-3 for row in rows) and any(row["grad_norm"] > 0 for row in rows)
    assert any(row["format"] > 0 and row["budget_entropy"] > 0 for row in rows)
    written = read_rows(root / "taught" / "grpo" / "completions.jsonl")
    assert any(row["well_formed"] and row["correct"] for row in written)


def test_evaluation_reads_thinking_and_prefilled_budgets(root: Path) -> None:
    result = json.loads((root / "taught" / "result.json").read_text())
    assert 0 < result["initial/jsonl/accuracy"] <= 1
    assert result["initial/jsonl/thinking_length"] < result["initial/jsonl/length"]
    assert {"jsonl/compression", "jsonl/accuracy_change", "trained/jsonl/match_25"} <= result.keys()
    rows = read_rows(root / "taught" / "trained" / "completions.jsonl")
    given = [row for row in rows if row["prefilled"] == 20]
    assert len(given) == HELD_OUT
    assert all(row["text"].startswith("<budget>20</budget>") for row in given)
    assert all(row["budget"] == 20 for row in given if row["well_formed"])
    initial = read_rows(root / "taught" / "initial" / "completions.jsonl")
    assert all(row["text"].startswith("<think>\n") for row in initial)


def test_the_trained_model_is_an_ordinary_hugging_face_folder(root: Path, models: Path) -> None:
    folder = root / "taught" / "grpo" / "checkpoints" / "last"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert (model.config.model_type, model.config.use_cache) == ("qwen2", True)
    assert (model.config.vocab_size, model.dtype) == (ROWS_OF_EMBEDDINGS, torch.float32)
    before, after = (AutoTokenizer.from_pretrained(path) for path in (models / "taught", folder))
    assert (after.eos_token_id, after.bos_token_id) == (before.eos_token_id, before.bos_token_id)
    codecs = [
        make_codec(load_tokenizer(str(path)), ModelSettings("own", "own")) for path in (models / "taught", folder)
    ]
    for fmt, budget in ((PLAIN, None), (BUDGET, 131)):
        first, second = (codec.prompt("What is 2 + 3?", fmt, budget) for codec in codecs)
        assert first == second
    chat = [{"role": "user", "content": "What is 2 + 3?"}]
    asked = after.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    unworded = replace(BUDGET, instruction="")  # the chat above asks for nothing either
    assert tuple(asked) == codecs[0].prompt("What is 2 + 3?", unworded).all_ids
