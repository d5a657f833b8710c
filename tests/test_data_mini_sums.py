"""The embedded task, its tokenizer, and the checkpoints that are shipped."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.data.mini import sums
from budgetrl.data.mini.model import (
    BUDGET_STYLES,
    budget_grid,
    make_model,
    make_tokenizer,
)
from budgetrl.data.mini.shipped import CHECKPOINTS
from budgetrl.data.mini.tasks import TASKS
from budgetrl.data.sources.mini import MiniSettings
from budgetrl.formats.registry import format_class, format_names
from budgetrl.policy.budgets import writable_budget
from budgetrl.policy.loading import resolve_path
from budgetrl.settings.model import ModelSettings

MEGABYTE = 1_000_000
SHIPPED = ("base", "cold_start", "trained")

problems = st.builds(
    lambda seed, level: sums.draw_problem(Random(seed), level), st.integers(0), st.sampled_from(sums.LEVELS)
)


@pytest.fixture
def no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in ("SLIP_RATE", "RECHECK_SLIP_RATE", "FILLER_RATE"):
        monkeypatch.setattr(sums, rate, 0.0)


# The tokenizer


def test_the_grid_has_eight_budgets_to_the_octave() -> None:
    grid = budget_grid()
    assert (len(grid), grid[0], grid[-1]) == (48, 8, 480)
    assert grid == tuple(sorted(set(grid)))
    assert all(2 * n in grid for n in grid[:-8])


@given(st.integers(0, 10_000))
def test_the_writable_budget_is_the_nearest(tokens: int) -> None:
    grid, digits = make_tokenizer("grid"), make_tokenizer("digits")
    distances = [abs(n - tokens) for n in budget_grid()]
    assert abs(writable_budget(grid, tokens) - tokens) == min(distances)
    assert writable_budget(digits, tokens) == tokens


def test_only_budgets_are_asked_of_the_model_that_was_taught_them() -> None:
    for task in TASKS:
        shipped = {name: Path(resolve_path(ModelSettings(path=task), format_class(name)())) for name in format_names()}
        names = {"plain": "base", "budget": "cold_start", "prompt_budget": "base", "difficulty": "base"}
        assert shipped == {fmt: CHECKPOINTS / task / name for fmt, name in names.items()}


def test_a_tie_goes_down() -> None:
    tokenizer = make_tokenizer()
    assert [writable_budget(tokenizer, n) for n in (17, 33, 34, 35, 1, 481)] == [16, 32, 32, 36, 8, 480]
    at_least = [writable_budget(tokenizer, n, at_least=True) for n in (16, 17, 33, 1, 480, 481)]
    assert at_least == [16, 18, 36, 8, 480, 480]


def test_a_grid_budget_is_one_token_and_digits_are_one_each() -> None:
    grid, digits = make_tokenizer("grid"), make_tokenizer("digits")
    for budget in budget_grid():
        text = f"<budget>{budget}</budget>"
        assert len(grid.encode(text)) == 3
        assert len(digits.encode(text)) == 2 + len(str(budget))


@pytest.mark.parametrize("style", BUDGET_STYLES)
@given(problem=problems, checks=st.integers(0, 4), seed=st.integers(0))
def test_solutions_survive_the_tokenizer_a_word_a_token(style: str, problem: sums.Sum, checks: int, seed: int) -> None:
    tokenizer = make_tokenizer(style)
    text = f" {sums.solve(Random(seed), problem, checks)}"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.split())
    assert tokenizer.unk_token_id not in ids and tokenizer.pad_token_id not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("style", BUDGET_STYLES)
def test_the_chat_template_marks_whose_turn_it_is(style: str) -> None:
    tokenizer = make_tokenizer(style)
    chat = [{"role": "user", "content": "a 4 b 2 ?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<user> a 4 b 2 ?<assistant>"
    assert len(tokenizer.encode(text)) == 7


def test_a_style_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="budget_style.*grid, digits"):
        make_tokenizer("roman")


# The task


@pytest.mark.usefixtures("no_slips")
@pytest.mark.parametrize("level", sums.LEVELS)
def test_without_slips_every_solution_is_right_and_as_long_as_expected(level: int) -> None:
    rng = Random(level)
    for checks in range(len(sums.check_weights(level))):
        problem = sums.draw_problem(rng, level)
        words = sums.solve(rng, problem, checks).split()
        assert words[:2] == ["plan", sums.COUNT_WORDS[checks]]
        assert words[-3:] == ["\\boxed{", str(problem.answer), "}"]
        assert words.count("ok") == checks
        by_formula = (4 * level + 5) + checks * (4 * level + 3)
        assert len(words) == by_formula == pytest.approx(sums.expected_length(level, checks), abs=1e-9)


def test_expected_length_counts_filler_words() -> None:
    rng = Random(0)
    lengths = [len(sums.solve(rng, sums.draw_problem(rng, 8), 2).split()) for _ in range(400)]
    assert fmean(lengths) == pytest.approx(sums.expected_length(8, 2), rel=0.02)


def test_a_slip_in_the_first_pass_is_found_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "SLIP_RATE", 1.0)
    monkeypatch.setattr(sums, "RECHECK_SLIP_RATE", 0.0)
    rng = Random(0)
    problem = sums.draw_problem(rng, 2)
    words = sums.solve(rng, problem, checks=1).split()
    assert (words.count("no"), words.count("ok")) == (1, 1)  # the check disagrees, so it checks again
    assert words[-2] == str(problem.answer)
    assert sums.solve(rng, problem, checks=0).split()[-2] != str(problem.answer)


@given(level=st.sampled_from(sums.LEVELS), hint=st.sampled_from(budget_grid()))
def test_a_hint_gets_the_nearest_reachable_plan(level: int, hint: int) -> None:
    counts = range(len(sums.check_weights(level)))
    chosen = sums.checks_for(level, hint)
    distances = [abs(sums.expected_length(level, n) - hint) for n in counts]
    assert chosen in counts
    assert distances[chosen] == min(distances)
    assert sums.checks_for(level, 1) == 0
    assert sums.checks_for(level, 10_000) == max(counts)


def test_problems_are_seeded_and_levels_have_equal_shares() -> None:
    dataset = MiniSettings(size=70, eval_size=35, seed=1)
    train, held_out = dataset.load("train").problems, dataset.load("eval").problems
    assert train == dataset.load("train").problems != MiniSettings(size=70, seed=2).load("train").problems
    assert Counter(p.level for p in train) == dict.fromkeys(sums.LEVELS, 10)
    assert len(held_out) == 35
    assert {p.id for p in train}.isdisjoint(p.id for p in held_out)
    words = train[3].problem.split()
    assert int(train[3].answer) == sum(map(int, words[1:-1:2])) and train[3].level == len(words) // 2
    assert MiniSettings(size=70, eval_size=35, seed=1, limit=10).load("train").problems == train[:10]


def test_levels_can_be_chosen() -> None:
    problems = MiniSettings(size=4, levels=(5, 14)).load("train").problems
    assert [problem.level for problem in problems] == [5, 14, 5, 14]
    for levels in ((), (1, 2), (17,)):
        with pytest.raises(ValueError, match=r"^levels: must be numbers from 2 to 16, got \["):
            MiniSettings(levels=levels)


# What is shipped


def test_the_model_is_as_large_as_documented_and_follows_its_seed() -> None:
    size = len(make_tokenizer())
    model = make_model(size, seed=0)
    assert 150_000 < model.num_parameters() < 165_000
    first, again, other = (next(make_model(size, seed).parameters()) for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_is_below_a_megabyte_and_holds_nothing_but_itself(task: str, name: str) -> None:
    files = {path.name: path.stat().st_size for path in (CHECKPOINTS / task / name).iterdir()}
    assert sum(files.values()) < MEGABYTE
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files.keys()
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt"))]


ALONE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder in sys.argv[1:]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "a 4 b 2 c 6 ?"}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**inputs, max_new_tokens=420, do_sample=False)[0, inputs["input_ids"].shape[1]:]
    print(tokenizer.decode(written))
assert not any(name.split(".")[0] == "budgetrl" for name in sys.modules)
"""


@pytest.mark.slow
def test_checkpoints_work_in_transformers_alone(tmp_path: Path) -> None:
    folders = [str(CHECKPOINTS / task / name) for task in TASKS for name in SHIPPED]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE, *folders], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    written = done.stdout.splitlines()
    assert len(written) == len(folders)
    for base, *taught in zip(written[::3], written[1::3], written[2::3], strict=True):
        assert base.startswith(" plan")
        assert all(text.startswith("<budget>") and "</budget><solution> plan" in text for text in taught)
