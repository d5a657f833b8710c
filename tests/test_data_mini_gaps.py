"""The task on which length has a price: its traces, its lengths, and that it is chosen by the data set."""

from collections import Counter
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.cli import request
from budgetrl.cli.request import read_request
from budgetrl.data.mini import gaps
from budgetrl.data.mini.examples import Solutions, draw_example
from budgetrl.data.mini.gaps import Gaps
from budgetrl.data.mini.model import budget_grid, make_tokenizer
from budgetrl.data.mini.sums import LEVELS
from budgetrl.data.mini.tasks import TASKS
from budgetrl.data.sources.mini import MiniSettings
from budgetrl.data.sources.mini_tradeoff import MiniTradeoffSettings
from budgetrl.settings.config import Config, load_config
from budgetrl.settings.stages.pretrain import Pretrain

CHECKS = range(len(gaps.STRIDES))

chains = st.builds(lambda seed, level: gaps.draw_problem(Random(seed), level), st.integers(0), st.sampled_from(LEVELS))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither slips nor filler words."""
    monkeypatch.setattr(gaps, "SLIP_RATES", {8: 0.0})
    monkeypatch.setattr(gaps, "FILLER_RATE", 0.0)


def trace(operands: list[int], checks: int) -> str:
    return gaps.solve(Random(0), Gaps(tuple(operands)), checks)


def test_an_answer_is_the_distance_from_one_operand_to_the_next() -> None:
    assert [Gaps(x).answer for x in ((4, 2), (2, 4), (4, 2, 6), (1, 6, 6), (6, 1, 6, 6))] == [2, 2, 4, 1, 5]
    assert Gaps((4, 2, 6)).text == "a 4 b 2 c 6 ?"


@pytest.mark.usefixtures("exact")
def test_every_look_takes_fewer_operands_at_once() -> None:
    assert trace([4, 2], 0) == r"plan zero b = 2 \boxed{ 2 }"
    assert trace([1, 3, 3, 4, 5, 6], 4) == (
        "plan four f = 4 "
        "wait one d = 3 f = 4 ok "
        "wait two b = 2 d = 3 f = 4 ok "
        "wait three a 1 = 1 b 3 = 2 c 3 = 1 d 4 = 3 e 5 = 2 f 6 = 4 ok "
        "wait four a 1 = 1 b 3 = 2 c 3 = 1 d 4 = 3 e 5 = 2 f 6 = 4 ok "
        r"\boxed{ 4 }"
    )
    assert trace([1] * 9 + [5, 5, 6], 1) == r"plan one h = 0 l = 5 wait one d = 0 h = 0 l = 5 ok \boxed{ 5 }"
    assert trace([2, 2, 5], 2) == r"plan two c = 5 wait one c = 5 ok wait two b = 0 c = 5 ok \boxed{ 5 }"


@pytest.mark.usefixtures("exact")
def test_a_wrong_look_goes_on_from_its_wrong_value_until_a_closer_one_disagrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gaps, "SLIP_RATES", {4: 0.0, 8: 1.0})
    words = trace([1] * 12, 1).split()  # 0 is right at h and at l; the last four are few enough
    wrong = int(words[4])
    assert wrong in range(1, 7)
    for _ in range(4):
        wrong = abs(wrong - 1)
    assert words[:8] == ["plan", "one", "h", "=", words[4], "l", "=", str(wrong)]
    verdict = "no" if wrong else "ok"
    assert " ".join(words[8:]) == rf"wait one d = 0 h = 0 l = 0 {verdict} \boxed{{ 0 }}"  # no extra check after a no


def test_the_chance_of_a_slip_goes_by_the_operands_that_are_really_added() -> None:
    rates = [gaps.slip_rate(n) for n in range(1, 9)]
    assert rates == sorted(rates)
    assert [len({*rates[:1]}), len({*rates[2:4]}), len({*rates[4:]}), len({*rates})] == [1, 1, 1, 4]


@pytest.mark.usefixtures("exact")
@given(problem=chains, checks=st.sampled_from(CHECKS))
def test_without_slips_a_solution_is_right_and_as_long_as_expected(problem: Gaps, checks: int) -> None:
    text = gaps.solve(Random(0), problem, checks)
    words = text.split()
    assert words[-3:] == [r"\boxed{", str(problem.answer), "}"]
    assert (words.count("wait"), words.count("ok"), words.count("no")) == (checks, checks, 0)
    assert len(make_tokenizer().encode(" " + text)) == len(words)
    assert len(words) == pytest.approx(gaps.expected_length(problem.level, checks), abs=1e-9)


@pytest.mark.usefixtures("exact")
def test_lengths_worked_out_by_hand() -> None:
    assert [gaps.expected_length(2, n) for n in CHECKS] == [8, 14, 20, 31, 42]
    assert [gaps.expected_length(16, n) for n in CHECKS] == [11, 26, 53, 120, 187]


def test_expected_length_counts_filler_words() -> None:
    rng = Random(0)
    lengths = [len(gaps.solve(rng, gaps.draw_problem(rng, 8), 3).split()) for _ in range(400)]
    assert fmean(lengths) == pytest.approx(gaps.expected_length(8, 3), rel=0.01)


@given(level=st.sampled_from(LEVELS), hint=st.sampled_from(budget_grid()))
def test_a_hint_gets_the_nearest_reachable_plan(level: int, hint: int) -> None:
    distances = [abs(gaps.expected_length(level, n) - hint) for n in CHECKS]
    assert distances[gaps.checks_for(level, hint)] == min(distances)


def test_hints_reach_from_the_shortest_solution_to_the_longest() -> None:
    shortest, longest = gaps.HINT_RANGE
    assert shortest <= gaps.expected_length(2, 0)
    assert gaps.expected_length(16, 4) <= longest
    assert {shortest, longest} <= {*budget_grid()}


def test_it_mostly_plans_more_than_it_needs() -> None:
    rng = Random(0)
    drawn = Counter(gaps.draw_checks(rng, 8) for _ in range(7000))
    assert [round(drawn[n] / 1000) for n in CHECKS] == [1, 1, 1, 2, 2]


# The tasks by name


def test_both_tasks_have_the_same_operands_under_names_of_their_own() -> None:
    first = MiniSettings(size=14, eval_size=7).load("eval").problems
    second = MiniTradeoffSettings(size=14, eval_size=7).load("eval").problems
    assert [p.problem for p in first] == [p.problem for p in second]
    assert [p.id for p in second] == [f"mini_tradeoff-eval-{n}" for n in range(7)]
    assert {p.id for p in first}.isdisjoint(p.id for p in second)
    assert {p.source for p in second} == {"mini_tradeoff"}


def test_the_base_learns_the_solutions_of_the_data_sets_task() -> None:
    first, second = (draw_example(task, Random(3), 0.0) for task in TASKS.values())
    assert first[0] == second[0]
    assert first[1] != second[1]
    tokenizer = make_tokenizer()
    lengths: list[float] = []
    for task in TASKS.values():
        solutions = Solutions(task, tokenizer, seed=0, tokens_per_step=4096, hinted_share=0.5)
        drawn = [solution for step in range(4) for solution in solutions.batch(step)]
        lengths.append(fmean(len(solution.response_ids) for solution in drawn))
    assert lengths[1] < 0.8 * lengths[0]


def test_a_base_is_made_for_generated_tasks_alone() -> None:
    parts = {"stage": {"name": "pretrain"}, "reward": {"name": "accuracy"}}
    files = {"source": "jsonl", "path": "train.jsonl"}
    (refusal,) = Pretrain().errors(load_config(parts | {"dataset": files}))
    expected = "dataset.source: stage=pretrain needs a generated task; use one of mini, mini_tradeoff"
    assert str(refusal) == expected
    assert Pretrain().errors(load_config(parts | {"dataset": {"source": "mini_tradeoff"}})) == []


@pytest.mark.parametrize("stage", ["pipeline", "grpo", "evaluate", "pretrain"])
def test_one_word_takes_task_and_model_for_any_stage(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []
    monkeypatch.setattr(request, "errors", lambda config: seen.append(config))
    read_request(["experiment=mini_tradeoff", f"stage={stage}", "reward=accuracy"])
    (config,) = seen
    assert (config.stage.name, config.reward.name) == (stage, "accuracy")
    assert config.dataset.source == config.dataset.name == config.model.path == config.model.name == "mini_tradeoff"
