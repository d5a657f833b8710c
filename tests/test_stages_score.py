"""Rewards for rows of outcomes: as published, in groups, where the schedule stands; and what is refused."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

from alone import context
from budgetrl.cli import main as entry
from budgetrl.core.errors import RequestError
from budgetrl.core.records import Outcome
from budgetrl.rewards.accuracy import Accuracy
from budgetrl.rewards.alp import Alp
from budgetrl.rewards.budget_cosine import BudgetCosine
from budgetrl.rewards.reward import Parts, Reward
from budgetrl.runs.folder import RunFolder, read_rows
from budgetrl.settings.config import Config, read_mapping
from budgetrl.settings.stages.score import Score
from many_runs import call_entrypoint
from scoring import Row, completion, configured, outcome, score, write

BUDGET = 1000
R_B = -0.4
COSINE = {
    0.1: {
        899: (0.5, -0.5),
        900: (1.0, -0.5),
        950: (0.9268, -0.4268),
        1000: (0.75, -0.25),
        1050: (0.5732, -0.0732),
        1100: (0.5, 0.0),
        1101: (0.5, -0.5),
    },
    0.2: {900: (0.9268, -0.4268), 1100: (0.5732, -0.0732)},
    1.0: {500: (0.9268, -0.4268)},
    6.0: {500: (0.7826, -0.2826), 3000: (0.625, -0.125), 7000: (0.5, 0.0), 7001: (0.5, -0.5)},
}
"""alpha, length, rewards of a correct and of a wrong answer with a budget of 1000 that is within b_max."""
GAUSS = {
    0.1: {
        800: (0.8033, -0.4944),
        900: (1.0, -0.4323),
        950: (0.9412, -0.3377),
        1000: (0.8033, -0.1967),
        1050: (0.6623, -0.0588),
        1100: (0.5677, 0.0),
        1200: (0.5056, -0.1967),
        1500: (0.5, -0.4998),
    },
    0.2: {900: (0.9412, -0.3377), 1100: (0.6623, -0.0588)},
    1.0: {500: (0.9412, -0.3377)},
    6.0: {500: (0.8285, -0.2219), 1000: (0.8033, -0.1967), 7000: (0.5677, 0.0), 13000: (0.5056, -0.1967)},
}
"""The same with the Gaussian of width 1, worked out by hand: at d half-widths alpha b from b_best, which are 1 - alpha
and 1 + alpha times 1000, a correct answer earns 0.5 + k / 2 and a wrong one -0.5 + k / 2, k = exp(-d^2 / 2): 1, 0.8825,
0.6065, 0.3247, 0.1353, 0.0111 and 0.0003 at d = 0, 0.5, 1, 1.5, 2, 3 and 4."""
TABLES = {"budget_cosine": COSINE, "budget_gauss": GAUSS}
TIGHT = BudgetCosine(alpha_start=0.1, alpha_schedule="constant")


def vectors(reward: str, alpha: float) -> tuple[list[Row], list[float]]:
    """Rows for every length, verdict and b_max of the reward's table, and their rewards."""
    table = TABLES[reward][alpha]
    rows, rewards = [], []
    for length, correct, b_max in product(table, (True, False), (None, BUDGET, BUDGET - 1)):
        rows.append(outcome(correct=correct, budget=BUDGET, length=length, b_max=b_max))
        rewards.append(table[length][0 if correct else 1] + (R_B if b_max == BUDGET - 1 else 0.0))
    return rows, rewards


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls the entrypoint, with the rank in this process; gives back the exit code."""

    def launch(config: Config, folder: RunFolder) -> int:
        ctx = context(folder.path)
        folder.write_result(import_module(config.stage.executor).run(config.stage, config, ctx))
        return 0

    monkeypatch.setattr(entry, "launch", launch)
    return lambda *words: call_entrypoint("stage=score", "tracking=none", "run.dir=run", *words)


@pytest.mark.parametrize(("reward", "alpha"), [(name, alpha) for name, table in TABLES.items() for alpha in table])
def test_selfbudgeters_rewards(command: Callable[..., int], reward: str, alpha: float) -> None:
    rows, rewards = vectors(reward, alpha)
    schedule = [f"reward.alpha_start={alpha}", "reward.alpha_schedule=constant"]
    assert command(f"stage.input={write(rows)}", f"reward={reward}", *schedule) == 0
    assert [row["reward"] for row in read_rows(Path("run/scores.jsonl"))] == pytest.approx(rewards, abs=5e-5)


def test_a_gaussian_twice_as_wide_falls_half_as_fast(command: Callable[..., int]) -> None:
    """800 and 1200 are 1 and 3 half-widths of 100 from 900, and 3 and 1 from 1100: half as many deviations. A
    malformed response earns r_f."""
    words = ["reward=budget_gauss", "reward.alpha_start=0.1", "reward.alpha_schedule=constant", "reward.width=2"]
    rows = [outcome(correct=c, budget=BUDGET, length=n) for c, n in product((True, False), (800, 1200))]
    rows.append(outcome(well_formed=False, budget=None))
    assert command(f"stage.input={write(rows)}", *words) == 0
    rewards = [row["reward"] for row in read_rows(Path("run/scores.jsonl"))]
    assert rewards == pytest.approx([0.9412, 0.6623, -0.3377, -0.0588, -1.0], abs=5e-5)


def test_no_memory_is_planned_where_no_model_runs(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"stage.input={write([outcome()])}", "reward=accuracy") == 0
    assert "memory" not in capsys.readouterr().out


@pytest.mark.slow
def test_from_the_shell_with_a_rank_of_its_own() -> None:
    rows, rewards = vectors("budget_cosine", 0.1)
    stage = ["stage=score", f"stage.input={write(rows)}", "stage.output=new/out.jsonl"]
    reward = ["reward=budget_cosine", "reward.alpha_start=0.1", "reward.alpha_schedule=constant"]
    words = [sys.executable, "-m", "budgetrl", *stage, *reward, "tracking=none", "run.dir=run", "launch.ranks=2"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["reward"] for row in read_rows(Path("new/out.jsonl"))] == pytest.approx(rewards, abs=5e-5)
    result = RunFolder("run").read_result()
    assert result["rows"] == len(rows)
    assert result["reward"] == pytest.approx(sum(rewards) / len(rows), abs=5e-5)
    assert not Path("run/report.md").exists()


def test_edited_input_is_scored_anew_and_a_failure_leaves_no_old_result(command: Callable[..., int]) -> None:
    words = [f"stage.input={write([outcome()])}", "reward=accuracy"]
    assert command(*words) == 0
    assert RunFolder("run").read_result()["accuracy"] == 1.0
    write([outcome(correct=False)])
    assert command(*words) == 0
    assert RunFolder("run").read_result()["accuracy"] == 0.0
    assert [row["correct"] for row in read_rows(Path("run/scores.jsonl"))] == [False]
    assert command(*words, "mode=dry") == 0
    assert RunFolder("run").finished
    write([outcome(correct="no")])
    assert command(*words) == 2
    assert not RunFolder("run").finished


def test_without_input_nothing_is_made(
    command: Callable[..., int], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 2
    said = "budgetrl: stage.input: must be given, as a JSONL file of completions or outcomes\n"
    assert capsys.readouterr().err == said
    assert list(here.iterdir()) == []


def told(reward: Reward, **stage: object) -> list[str]:
    """What the stage's settings have against themselves."""
    config = configured(reward, **stage)
    return [str(message) for message in config.stage.errors(config)]


def test_what_the_options_cannot_be() -> None:
    rows = write([outcome()])
    assert told(TIGHT, input=rows) == []
    assert told(TIGHT, input="gone.jsonl") == ["stage.input: there is no file gone.jsonl"]
    Path("folder").mkdir()
    folder = ["stage.output: folder is a folder; name a file in it"]
    assert told(TIGHT, input=rows, output="folder") == folder
    itself = [f"stage.output: ./{rows} is the input itself; name another file"]
    assert told(TIGHT, input=rows, output=f"./{rows}") == itself
    other = "stage.format: reward=budget_cosine requires the budget format; set stage.format=budget, or auto"
    assert told(TIGHT, input=rows, format="plain") == [other]
    assert told(Accuracy(), input=rows, format="plain") == []
    assert told(Accuracy(), input=rows, format="prompt_budget") == []  # nobody is asked for anything here
    unknown = ["reward.max_length: reward=alp needs the longest length allowed; set it to a number of tokens"]
    assert told(Alp(), input=rows) == unknown
    assert told(Alp(max_length=9), input=rows) == []
    with pytest.raises(ValueError, match="progress: 1.5 is not a number from 0 to 1"):
        Score(input=rows, progress=1.5)
    with pytest.raises(ValueError, match="format: there is no response format 'free'; there are budget"):
        Score(input=rows, format="free")


def test_the_shipped_options_are_the_defaults(repo: Path) -> None:
    defaults = {key: getattr(Score(), key) for key in ("name", "input", "input_format", "output", "progress", "format")}
    assert read_mapping(repo / "conf" / "stage" / "score.yaml") == defaults


def test_rows_come_back_with_parts_defaults_and_what_else_they_held() -> None:
    given = outcome(b_max=80, note="mine", answer=None, reward=7.0, **{"reward/old": 7.0})
    (row,), _ = score([given], TIGHT)
    assert row == {
        **outcome(b_max=80, note="mine", answer=None),
        "level": None,
        "truncated": False,
        "thinking_length": None,
        "easy": None,
        "repetition": 0.0,
        "reward": pytest.approx(0.6),
        "reward/format": 0.0,
        "reward/budget_penalty": R_B,
        "reward/adherence": pytest.approx(1.0),
    }


def test_the_schedule_stands_where_progress_says() -> None:
    falling = BudgetCosine(alpha_start=1.0, alpha_end=0.1, alpha_end_at=1.0)
    rows = [outcome(length=100), outcome(length=50)]
    for progress, alpha, rewards in ((0.0, 1.0, [0.75, 0.9268]), (1.0, 0.1, [0.75, 0.5])):
        scored, _ = score(rows, falling, progress=progress)
        assert [row["reward"] for row in scored] == pytest.approx(rewards, abs=5e-5)
        config = configured(falling, progress=progress)
        assert config.stage.workload(config).summary["alpha"] == pytest.approx(alpha)


@dataclass(frozen=True)
class Ranked(Reward):
    """A reward that looks at the whole group: the place of a length among its problem's."""

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        lengths = sorted(outcome.length for outcome in group)
        return {"rank": [float(lengths.index(outcome.length)) for outcome in group]}


def test_rows_of_a_problem_are_a_group_wherever_they_stand() -> None:
    shuffled = [("a", 30), (7, 5), ("a", 10), ("b", 99), ("7", 6), ("a", 20)]
    scored, result = score([outcome(problem_id=name, length=length) for name, length in shuffled], Ranked())
    assert [(row["problem_id"], row["length"]) for row in scored] == [(str(n), length) for n, length in shuffled]
    assert [row["reward"] for row in scored] == [2.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    assert result["groups"] == 3


def test_the_result_holds_the_metrics_of_an_evaluation() -> None:
    rows = [
        outcome(problem_id="a", level=1),
        outcome(problem_id="b", level=2, length=300, correct=False),
        outcome(problem_id="b", level=2, length=60, correct=False, well_formed=False, budget=None),
    ]
    _, result = score(rows, TIGHT)
    wanted = {"reward": -0.5 / 3, "reward/format": -1 / 3, "accuracy": 1 / 3, "format": 2 / 3, "length": 150}
    wanted |= {"budget": 100, "match_10": 1 / 3, "level_1/accuracy": 1, "level_2/accuracy": 0}
    wanted |= {"rows": 3, "groups": 2}
    assert {key: result[key] for key in wanted} == pytest.approx(wanted)
    assert "verify/unparsed" not in result


def test_what_was_cut_off_is_wrong_whatever_its_row_says() -> None:
    rows = [outcome(), outcome(well_formed=False, truncated=True), outcome(well_formed=False)]
    scored, result = score(rows, TIGHT)
    assert [row["correct"] for row in scored] == [True, False, True]
    assert result["accuracy"] == pytest.approx(2 / 3)


def test_whole_numbers_may_be_written_as_floats() -> None:
    """As pandas does once a column has a gap."""
    (scored,), result = score([outcome(budget=100.0, length=90.0, level=2.0)], TIGHT)
    assert [repr(scored[key]) for key in ("budget", "length", "level")] == ["100", "90", "2"]
    assert "level_2/accuracy" in result


def test_in_the_plain_format_a_response_has_no_budget() -> None:
    row = outcome()
    del row["budget"]
    (scored,), _ = score([row], Accuracy(), format="plain")
    assert (scored["reward"], scored["budget"]) == (1.0, None)


def test_a_row_that_cannot_be_scored_is_named_and_nothing_is_written() -> None:
    with pytest.raises(RequestError) as caught:
        score([outcome(b_max=float("inf")), completion(), outcome(length=-1), outcome()], TIGHT)
    assert str(caught.value) == "rows.jsonl, line 3: length: must be a number of tokens, not -1"
    assert not Path("run/scores.jsonl").exists()
