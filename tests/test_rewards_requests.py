"""Rewards in a training request: errors and warnings appear before anything starts."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import test_rewards_all as every_reward
import test_rewards_per_component as per_component
from budgetrl.cli import main as entry
from budgetrl.cli.request import read_request
from budgetrl.rewards.registry import reward_names
from budgetrl.settings.strict import ConfigError


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Plan a GRPO run in an empty folder and return the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["budgetrl", "stage=grpo", "mode=dry", "run.dir=run", *words])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reward=aalc", "stage.eval_every=0"], "stage.eval_every: reward=aalc needs evaluations during training"),
        (
            ["reward=aalc"],
            "std_floor=1e-06, or length_weight to a value comparable to the verdict, such as 0.1",
        ),
        (["stage=pipeline", "reward=aalc"], "reward.length_weight: 1e-06 is too small for length to count with this"),
        (
            ["reward=aalc", "algorithm=dr_grpo", "algorithm.advantage.std_floor=1e-6"],
            "set algorithm.advantage.scale=group and algorithm.advantage.std_floor=1e-06",
        ),
        (
            ["reward=arora", "algorithm.advantage.per_component=true", "algorithm.advantage.scale=batch"],
            "algorithm.advantage.per_component: with reward=arora, a part that lowers right responses only",
        ),
        (["reward=overlong", "reward.max_length=null"], "reward.cache: 4096 is not below max_length (420)"),
        (["reward=l1_max", "stage.format=plain"], "stage.format: reward=l1_max requires the prompt_budget format"),
        (["reward=adactrl", "stage.format=budget"], "stage.format: reward=adactrl requires the difficulty format"),
        (
            ["reward=kimi", "stage.format=prompt_budget"],
            "stage.format: the prompt_budget format needs a budget in the prompt, and reward=kimi sets none",
        ),
        (["reward=l1_max", "reward.form=blog"], "reward.form: 'blog' is not one of paper, code"),
        (["reward=l1_max", "reward.wording=few"], "reward.wording: 'few' does not contain {budget}"),
        (["reward=thinkprune", "reward.limits=[]"], "reward.limits: is empty"),
        (["reward=laser_d"], "(420); use fewer tokens; the longest completion is stage.max_new_tokens=420"),
        (["model.formats.difficulty.easy_tag=hmm"], "model.formats.difficulty.hard_tag: 'hmm' is the same as easy_tag"),
        (
            ["stage=pipeline", "reward=adactrl", "stage.cold_start.format=budget"],
            "stage.cold_start.format: budget differs from stage.grpo.format (difficulty); set both to the same format",
        ),
        (
            ["stage=pipeline", "reward=accuracy", "stage.grpo.format=budget", "stage.evaluate.format=plain"],
            "stage.evaluate.format: plain differs from stage.grpo.format (budget)",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    plan: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert plan(*words) == 2
    assert said in capsys.readouterr().err


GDPO = ["algorithm.advantage.per_component=true", "algorithm.advantage.scale=batch"]


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["reward=aalc", "algorithm.advantage.std_floor=1e-6"], ["reward.max_length"]),
        (["reward=aalc", "reward.length_weight=0.1", "algorithm=rloo"], ["reward.max_length"]),
        (["reward=accuracy", *GDPO], []),
        (["reward=dast"], ["reward.max_length"]),
        (["reward=dast", "reward.max_length=null"], []),
        (["reward=overlong", "reward.max_length=null", "reward.cache=100"], []),
        (["reward=l1_exact"], ["reward.budget_high"]),
        (["reward=l1_exact", "reward.budget_high=300"], []),
        (["reward=thinkprune"], ["reward.limits"]),
        (["reward=laser"], ["reward.target"]),
        (["reward=laser_d", "reward.lower_bound=20", "stage.steps=20"], ["reward.update_every"]),
        (["reward=laser_d", "reward.lower_bound=20", "stage.steps=21"], []),
        (["reward=laser_de", "reward.lower_bound=20", "algorithm=dapo"], ["reward.update_every"]),
        (["reward=laser_d", "reward.lower_bound=20", "stage=pipeline", "stage.steps=5"], ["reward.update_every"]),
    ],
)
def test_what_looks_odd_is_noted(plan: Callable[..., int], words: list[str], keys: list[str]) -> None:
    assert plan(*words) == 0
    notes = json.loads(Path("run/plan.json").read_text())["warnings"]
    assert [note.partition(":")[0] for note in notes if note.startswith("reward.")] == keys


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["algorithm=grpo"], "algorithm.budget_entropy.start"),
        (["stage=pipeline", "algorithm=grpo"], "algorithm.budget_entropy.start"),
        (["algorithm=grpo", "reward=accuracy"], None),
        (["algorithm=grpo", "algorithm.budget_entropy.start=0.006"], None),
        ([], None),
        (["algorithm.mismatch.correction=token_mask"], "algorithm.mismatch.floor"),
        (["algorithm.mismatch.correction=token_mask", "algorithm.mismatch.floor=0.5"], None),
        (["algorithm.mismatch.correction=token_truncate"], None),
    ],
)
def test_an_algorithm_that_looks_odd_is_noted(plan: Callable[..., int], words: list[str], key: str | None) -> None:
    assert plan(*words) == 0
    notes = json.loads(Path("run/plan.json").read_text())["warnings"]
    assert [note.partition(":")[0] for note in notes if note.startswith("algorithm.")] == ([key] if key else [])


def test_an_untaught_shipped_model_is_noted_where_nothing_teaches_it(plan: Callable[..., int]) -> None:
    for stage, noted in (("grpo", True), ("pipeline", False)):
        assert plan(f"stage={stage}", "reward=adactrl", f"run.dir={stage}") == 0
        odd = json.loads(Path(f"{stage}/plan.json").read_text())["warnings"]
        assert any("mini learned the plain format, not the difficulty format" in note for note in odd) == noted


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (["reward=l1_exact"], "Think for {budget} tokens."),
        (["reward=l1_max"], "Think for maximum {budget} tokens."),
        (["reward=l1_max", "reward.wording='at most {budget}'"], "Think for at most {budget} tokens."),
        (["reward=kimi"], "Think for {budget} tokens."),
        (["reward=l1_max", "model.formats.prompt_budget.instruction='{budget} tokens.'"], "{budget} tokens."),
    ],
)
def test_a_reward_words_the_length_that_a_real_model_is_asked_for(
    plan: Callable[..., int], words: list[str], wish: str
) -> None:
    assert plan("model=r1_distill_qwen_1_5b", "stage.max_new_tokens=4000", *words) == 0
    asked = yaml.safe_load(Path("run/config.yaml").read_text())["model"]["formats"]["prompt_budget"]["instruction"]
    assert asked.removeprefix("Let's think step by step and output the final answer within \\boxed{}. ") == wish


def test_the_readmes_reward_in_a_package_of_its_own(
    plan: Callable[..., int], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to the files that their first lines name, and run with the command beside them."""
    text = (repo / "README.md").read_text()
    for path, content in re.findall(r"```(?:python|yaml)\n# (my_\S+)\n(.*?)```", text, re.S):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    (command,) = re.findall(r"^ +budgetrl (--config-dir my_conf .*reward=brief.*)$", text, re.M)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert plan(*command.split()) == 0
    assert "my_package.rewards.Brief" in Path("run/config.yaml").read_text()


PAGE = Path(__file__).parents[1] / "docs" / "rewards.md"
ABLATIONS = re.findall(r"\| `budgetrl (.*)` \|$", PAGE.read_text(), re.M)
FILES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.S))
"""Files of the worked example, by path."""
CHECKS = [
    every_reward.test_rewards_are_finite_and_the_sum_of_their_parts,
    every_reward.test_rewards_do_not_depend_on_the_order_of_the_group,
    every_reward.test_no_wrong_answer_outscores_a_correct_one_whatever_the_budgets,
    every_reward.test_of_two_correct_answers_the_longer_never_earns_more,
    every_reward.test_of_two_wrong_answers_the_longer_never_earns_more,
    every_reward.test_of_two_malformed_responses_the_longer_never_earns_more,
    every_reward.test_an_answer_that_was_cut_off_never_earns_more_than_if_it_had_ended,
    per_component.test_what_is_not_refused_keeps_the_order_of_right_wrong_and_malformed,
]
"""Checks that a new reward must pass unless its name is in a list of exceptions."""


@pytest.mark.parametrize("command", ABLATIONS)
def test_the_ablations_of_selfbudgeter_are_requests_that_work(command: str) -> None:
    read_request(command.split())


def test_a_drawing_too_short_for_its_reward_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^reward.lower_bound: 1024 is above max_length \(200\)"):
        read_request(["stage=draw_reward", "stage.longest=200", "reward=laser_d"])


def test_every_reward_has_its_rows_on_the_page() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M)
    own = {"accuracy", "budget_cosine", "budget_gauss"}
    assert {name for name in reward_names() if named.count(name) != 2} == own


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The reward in the documentation, as if its file existed."""
    brief = ModuleType("budgetrl.rewards.brief")
    monkeypatch.setitem(sys.modules, brief.__name__, brief)
    exec(FILES["src/budgetrl/rewards/brief.py"], brief.__dict__)
    return brief


def test_the_worked_example_works(example: ModuleType) -> None:
    test = ModuleType("test_rewards_brief")
    exec(FILES["tests/test_rewards_brief.py"], test.__dict__)
    test.test_half_of_the_bonus_is_left_at_a_thousand_tokens()
    assert yaml.safe_load(FILES["conf/reward/brief.yaml"]) == asdict(example.Brief())
    with pytest.raises(ValueError, match="^price: -1 is negative"):
        example.Brief(price=-1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_worked_example_stands_in_no_list_of_exceptions(example: ModuleType, check: Callable[..., None]) -> None:
    check(reward=example.Brief())


def test_length_counts_in_the_worked_example(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(every_reward.DEFAULT, "brief", example.Brief())
    every_reward.test_of_two_correct_answers_the_shorter_earns_more("brief")


def test_the_page_has_the_rows_of_the_worked_example() -> None:
    rows = re.findall(r"^    (\| `brief` \|.*)$", PAGE.read_text(), re.M)
    heads = re.findall(r"^(\| reward \|.*)$", PAGE.read_text(), re.M)
    assert [row.count(" |") for row in rows] == [head.count(" |") for head in heads]


def test_the_page_names_the_lists_of_exceptions() -> None:
    lists = {name for name in vars(every_reward) if name.endswith("_MAY_WIN")}
    named = set(re.findall(r"^\| .* \| `([A-Z_]+)`", PAGE.read_text(), re.M))
    assert named == {*lists, "LENGTH_DOES_NOT_COUNT", "REFUSED"}
    assert named <= vars(every_reward).keys() | vars(per_component).keys()
