"""Tests of command lines: any mistake gives a one-line error before any file is created."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import fake_stage
from budgetrl.cli import request as request_module
from budgetrl.cli.request import read_request
from budgetrl.settings.config import Config
from budgetrl.settings.strict import ConfigError

REWARD = """
from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.records import Outcome
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Short(Reward):
    name: str = "my_rewards.Short"
    weight: float = 1.0

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        return {"short": [-self.weight * outcome.length for outcome in group]}
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and next to it a folder with the user's own options."""
    here, own = tmp_path / "here", tmp_path / "own"
    for folder in (here, own / "stage", own / "reward"):
        folder.mkdir(parents=True)
    (own / "stage" / "fake.yaml").write_text(fake_stage.YAML)
    (own / "reward" / "broken.yaml").write_text("name: accuracy\nx: [1\n")
    (own / "reward" / "astray.yaml").write_text("defaults: [{override /stagee: grpo}]\n")
    monkeypatch.chdir(here)
    return own


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that were checked."""
    seen: list[Config] = []
    monkeypatch.setattr(request_module, "errors", lambda config: seen.append(config))
    return seen


def request(own: Path, *overrides: str) -> list[str]:
    return ["--config-dir", str(own), *fake_stage.OVERRIDES, *overrides]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["reward.rb=-0.1"], "reward.rb: there is no such key; did you mean reward.r_b?"),
        (["stge=grpo"], "stge: there is no such key; did you mean stage?"),
        (["reward=budget_gaus"], "reward: there is no option 'budget_gaus'; did you mean budget_gauss?"),
        (["reward=null"], "reward: must be the name of an option; there are aalc, accuracy,"),
        (["reward=3"], "reward: must be the name of an option; there are aalc, accuracy,"),
        (["algorithm.clip_low=0.1"], "algorithm.clip_low: there is no such key; did you mean algorithm.loss.clip_low?"),
        (["stage.initial.samples=2"], "stage.initial.samples: there is no such key; there are stage.datasets,"),
        (
            ["model.formats={plan: {instruction: x}}"],
            "model.formats: to add entries of your own, write '++model.formats",
        ),
        (
            ["model.formats.answer_tag.tag=hmm"],
            "model.formats.answer_tag.tag: to add entries of your own, write '++model.formats.answer_tag.tag=hmm'",
        ),
        (
            ["model.formats.my_package.formats.Sized.short_tag=hmm"],
            "model.formats.my_package.formats.Sized.short_tag: to add entries of your own, write "
            "'++model.formats={my_package.formats.Sized:{short_tag:hmm}}'",
        ),
        (["model.formats.bugdet.close=x"], "model.formats.bugdet.close: there is no such key; did you mean"),
        (["model.formats.plain.closes=x"], "model.formats.plain.closes: there is no such key; did you mean"),
        (["hydra.sweep.dirr=x"], "hydra.sweep.dirr: there is no such key; did you mean hydra.sweep.dir?"),
        (["reward.name=foo"], "reward.name: there is no reward 'foo'; there are aalc, accuracy,"),
        (["stage=pipeline", "stage.datasets=gsm8k"], "stage.datasets: must be a list, such as [gsm8k]"),
        (
            ["stage=pipeline", "stage.grpo.steps=3"],
            "stage.grpo.steps: cannot be set here in a pipeline; set stage.steps",
        ),
        (
            ["stage=pipeline", "stage.evaluate.datasets=[mini]"],
            "stage.evaluate.datasets: cannot be set here in a pipeline; set stage.datasets",
        ),
        (["stage=pipeline", "stage.label.format=budget"], "stage.label.format: must be plain in a pipeline"),
        (
            ["stage=cold_start", "stage.epochs=0"],
            "stage.epochs: 0 would teach nothing; set a higher number, or set steps",
        ),
        (["stage=grpo", "stage.optimizer.betas=0.9"], "stage.optimizer.betas: must be a list, such as [0.9]"),
        (["stage=evaluate", "stage.budgets=14"], "stage.budgets: must be a list, such as [14]"),
        (["stage=pipeline", "stage.steps=five"], "stage.steps: must be a whole number, got 'five'"),
        (
            ["stage=grpo", "+experiment=shorten"],
            "experiment: this group is already in the configuration; write experiment=shorten",
        ),
        (["+stage=grpo"], "stage: this group is already in the configuration; write stage=grpo"),
        (["++eval_datasets.x.name=1"], "eval_datasets: cannot be set directly"),
        (["reward=broken"], "expected ',' or ']', but got '<stream end>' in "),
        (["reward=astray"], "In 'reward/astray': Could not override"),
        (["+reward.new=1"], "reward.new: there is no such key; there are reward."),
        (["++reward.rb=1"], "reward.rb: there is no such key; did you mean reward.r_b?"),
        (["+new.key=1"], "new.key: there is no such key; there are algorithm,"),
        (["seed=1.5"], "seed: must be a whole number, got 1.5"),
        (["reward.r_b=7"], "reward.r_b: 7.0"),
        (["stage.steps=0"], "stage.steps: must be 1 or more, got 0"),
        (["dataset=jsonl"], "dataset.path: "),
        (["~reward"], "reward.name: must be given"),
        (["seed"], "seed: cannot be parsed as key=value"),
        (["seed=1,2"], "seed: seed=1,2 is a sweep; add -m, or write a list as seed=[...]"),
        (
            ["stage.datasets=[gsm8]"],
            "stage.datasets: 'gsm8' is neither a dataset option nor a .jsonl file; did you mean gsm8k?",
        ),
        (["stage=pipeline", "stage.datasets=[mini,nope.jsonl]"], "stage.datasets: there is no file nope.jsonl"),
        (["stage=evaluate", "stage.datasets=[nope.jsonl]"], "stage.datasets: there is no file nope.jsonl"),
        (["stage=label", "dataset=jsonl", "dataset.path=nope.jsonl"], "dataset.path: there is no file nope.jsonl"),
        (["stage=cold_start", "dataset=gsm8k", "dataset.path=./nope"], "dataset.path: there is no folder nope"),
        (
            ["stage=grpo", "model.path=runs/a/checkpoints/last"],
            "model.path: runs/a/checkpoints/last is neither a folder",
        ),
        (["stage=grpo", "stage.labels=nope"], "stage.labels: there is no file nope; stage=label writes one"),
        (["stage=pipeline", "stage.grpo.labels=nope"], "stage.grpo.labels: there is no file nope"),
        (
            ["run.metric=mini/accuracy", "launch=slurm"],
            "run.metric: a submitted job has no result when the command returns",
        ),
        (["-m", "seed=1,x"], "seed: must be a whole number, got 'x'"),
        (["-m", "reward=budget_gauss,accuracy", "reward.width=0.5"], "reward.width: there is no such key"),
        (["-m", "launch.ranks=1,2"], "run.dir: the jobs 'launch.ranks=1' and 'launch.ranks=2' would share the folder"),
        (["-m", "run.dir=x", "seed=1,2"], "run.dir: the jobs 'seed=1' and 'seed=2' would share the folder x"),
    ],
)
def test_a_wrong_request_is_one_line_that_names_the_key(own: Path, overrides: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_request(request(own, *overrides))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["stage=evaluate", "dataset=jsonl", "dataset.path=nope.jsonl", "stage.datasets=[mini]"],
        ["stage=cold_start", "stage.check_problems=0", "dataset=jsonl", "dataset.path=a.jsonl", "dataset.eval_path=no"],
        ["stage=score", "stage.input=a.jsonl", "dataset=jsonl", "dataset.path=nope.jsonl"],
    ],
)
def test_a_file_that_no_part_reads_need_not_be_there(own: Path, overrides: Sequence[str]) -> None:
    Path("a.jsonl").touch()
    read_request(request(own, *overrides))


def test_a_plan_may_be_of_a_checkpoint_that_is_still_to_be_made(own: Path) -> None:
    read_request(request(own, "stage=evaluate", "model.path=runs/a/checkpoints/last", "mode=dry"))


def test_a_folder_of_options_must_exist() -> None:
    with pytest.raises(ConfigError, match="--config-dir: there is no folder nowhere"):
        read_request(["--config-dir", "nowhere"])


def test_a_sweep_is_every_combination_below_the_sweep_folder(own: Path, composed: list[Config]) -> None:
    read_request(request(own, "-m", "seed=range(2)", "reward.r_b=-0.1,-0.2", "hydra.sweep.dir=sweeps/a"))
    points = [(c.seed, c.reward.r_b, c.run.root) for c in composed]  # pyright: ignore[reportAttributeAccessIssue]
    assert points == [(s, r, "sweeps/a") for s in (0, 1) for r in (-0.1, -0.2)]


def test_of_a_large_sweep_each_value_is_checked(
    own: Path, composed: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_module, "MAX_JOBS_CHECKED", 3)
    read_request(request(own, "-m", "seed=1,2,3", "reward.r_b=-0.1,-0.2"))
    points = [(c.seed, c.reward.r_b) for c in composed]  # pyright: ignore[reportAttributeAccessIssue]
    assert points == [(1, -0.1), (2, -0.2), (3, -0.2)]


def test_a_reward_of_the_users_own(own: Path, composed: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "reward" / "short.yaml").write_text("name: my_rewards.Short\nweight: 2.0\n")
    (own / "my_rewards.py").write_text(REWARD)
    monkeypatch.syspath_prepend(str(own))
    read_request(request(own, "reward=short", "reward.weight=3"))
    assert composed[0].reward.weight == 3.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match="reward.wight: there is no such key; did you mean reward.weight"):
        read_request(request(own, "reward=short", "reward.wight=3"))


def test_the_users_options_come_before_ours(own: Path, composed: list[Config]) -> None:
    (own / "reward" / "accuracy.yaml").write_text("name: budget_gauss\n")
    read_request(request(own, "reward=accuracy"))
    assert composed[0].reward.name == "budget_gauss"


def test_evaluation_data_sets_by_name_by_file_and_the_runs_own(own: Path, composed: list[Config]) -> None:
    read_request(request(own, "dataset.limit=5", "stage.datasets=[mini,gsm8k,some/exam.jsonl]"))
    sets = composed[0].eval_datasets
    assert list(sets) == ["mini", "gsm8k", "exam"]
    assert sets["mini"].limit == 5
    assert sets["exam"].eval_path == "some/exam.jsonl"


def test_every_experiment_composes(repo: Path, composed: list[Config]) -> None:
    names = [path.stem for path in (repo / "conf" / "experiment").glob("*.yaml")]
    assert names
    for name in names:
        own = [] if name == "mini_tradeoff" else ["model.path=some-model", "dataset.path=some.jsonl"]
        read_request([f"experiment={name}", *own])
    assert len(composed) == len(names)


@pytest.mark.parametrize(("name", "clip_high", "std_floor"), [("laser", 0.28, 1e-4), ("aalc", 0.2, 1e-6)])
def test_the_recipe_of_a_reward_can_act(composed: list[Config], name: str, clip_high: float, std_floor: float) -> None:
    """With one optimizer step per rollout, clipping would have no effect. KL and loss are not those of `grpo`."""
    read_request([f"experiment={name}", "model.path=some-model", "dataset.path=some.jsonl"])
    algorithm = composed[0].algorithm
    assert composed[0].reward.name == name
    assert algorithm.optimizer_steps_per_rollout > 1
    assert (algorithm.loss.clip_high, algorithm.advantage.std_floor) == (clip_high, std_floor)
    assert (algorithm.loss.level, algorithm.kl.coefficient) == ("token", 0.001)


def test_every_stage_composes(repo: Path, composed: list[Config]) -> None:
    names = [path.stem for path in (repo / "conf" / "stage").glob("*.yaml")]
    for name in names:
        read_request([f"stage={name}"])
    assert [config.stage.name for config in composed] == names


ALGORITHMS = sorted(path.stem for path in (Path(__file__).parents[1] / "conf" / "algorithm").glob("*.yaml"))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_only_our_own_algorithm_has_our_tuning(name: str, composed: list[Config]) -> None:
    read_request(["stage=grpo", f"algorithm={name}"])
    (algorithm,) = [config.algorithm for config in composed]
    ours = name == "budget_grpo"
    assert algorithm.name == name
    assert (algorithm.budget_entropy.start > 0) == ours
    assert (algorithm.advantage.std_floor > 1e-4) == ours
    assert (algorithm.kl.coefficient > 0) == (name == "grpo")


def test_every_algorithm_has_its_row_on_the_page(repo: Path) -> None:
    table = re.findall(r"^\| `(\w+)`.*\|", (repo / "docs" / "algorithms.md").read_text().partition("\n## ")[0], re.M)
    assert sorted(table) == ALGORITHMS
