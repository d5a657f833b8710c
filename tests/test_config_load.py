"""The typed configuration: what it accepts, what it says of what it refuses, and what makes two runs the same."""

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from budgetrl.core.errors import RequestError
from budgetrl.runs.identity import flatten, identity
from budgetrl.settings import config as config_module
from budgetrl.settings.config import (
    load_config,
    read_config,
    read_mapping,
    run_dir,
    run_name,
    to_mapping,
    to_yaml,
)
from budgetrl.settings.launch import DeepspeedLaunch, LocalLaunch, SlurmLaunch
from budgetrl.settings.strict import ConfigError

Mapping = dict[str, Any]


@pytest.fixture
def mapping() -> Mapping:
    return {"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "budget_cosine"}}


def changed(mapping: Mapping, key: str, value: Any) -> Mapping:
    """A copy with a dotted key set, whether it is there or not."""
    new = copy.deepcopy(mapping)
    node = new
    *above, last = key.split(".")
    for part in above:
        node = node.setdefault(part, {})
    node[last] = value
    return new


def test_what_is_written_reads_back_the_same(mapping: Mapping, tmp_path: Path) -> None:
    full = changed(mapping, "eval_datasets.other", {"name": "other", "limit": 3})
    config = load_config(changed(full, "stage.datasets", ["other"]))
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_config(tmp_path / "config.yaml") == config
    assert load_config(to_mapping(config)) == config


def test_lists_become_the_tuples_that_were_declared(mapping: Mapping) -> None:
    config = load_config(changed(mapping, "stage.datasets", ["a", "b"]))
    assert config.stage.datasets == ("a", "b")  # pyright: ignore[reportAttributeAccessIssue]
    assert load_config(changed(mapping, "dataset.levels", [2, 4])).dataset.levels == (2, 4)


def test_small_numbers_stay_numbers(mapping: Mapping, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1e-5\n")
    assert read_mapping(path) == {"lr": 1e-5}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sed", 1, "sed: there is no such key; did you mean seed?"),
        ("reward.rb", -0.1, "reward.rb: there is no such key; did you mean reward.r_b?"),
        ("stage.stepz", 3, "stage.stepz: there is no such key; did you mean stage.steps?"),
        (
            "dataset",
            {"source": "jsonl", "path": "x", "fields": {"problm": "q"}},
            "dataset.fields.problm: there is no such key; did you mean dataset.fields.problem?",
        ),
        ("eval_datasets.x.limt", 3, "eval_datasets.x.limt: there is no such key; did you mean eval_datasets.x.limit?"),
        ("seed", 1.5, "seed: must be a whole number, got 1.5"),
        ("reward.r_b", "much", "reward.r_b: must be a number, got 'much'"),
        ("reward.r_b", None, "reward.r_b: must be a number, got null"),
        ("rollout", 3, "rollout: must be a group of keys, got 3"),
        ("model.path", "???", "model.path: a value must be given"),
        ("reward.r_b", 0.5, "reward.r_b"),
        ("stage.steps", 0, "stage.steps: must be 1 or more, got 0"),
        ("zero.stage", 4, "zero.stage: must be 0, 1, 2 or 3, got 4"),
        ("zero.offload_parameters", True, "zero.offload_parameters: needs stage 3"),
        ("launch.ranks", 0, "launch.ranks: 0 is neither null nor 1 or more"),
        ("launch.name", "slrum", "launch.name: 'slrum' is not a launcher; did you mean slurm?"),
        ("launch.nodes", 2, "launch.nodes: there is no such key; there are launch.at_once, launch.grace_seconds,"),
        ("launch.hostfile", "hosts", "launch.hostfile: there is no such key; there are launch.at_once,"),
        (
            "launch",
            {"name": "slurm", "ranks": 1, "at_once": 5},
            "launch.at_once: there is no such key; there are launch.account,",
        ),
        ("tracking.mode", "onlin", "tracking.mode"),
        ("mode", "dri", "mode: must be run or dry, got 'dri'"),
        ("reward.name", "budget_gaus", "reward.name: there is no reward 'budget_gaus'; did you mean budget_gauss"),
        ("stage.name", "grp", "stage.name: there is no stage 'grp'; did you mean grpo?"),
        ("stage.name", None, "stage.name: must be given"),
        ("stage.name", "nope.Stage", "stage.name: cannot import 'nope.Stage': there is no module 'nope'"),
        (
            "stage.name",
            "math.pi",
            "stage.name: math.pi is not a stage: derive it from budgetrl.settings.stages.base.StageSettings",
        ),
        ("stage.name", "fake_stage.Missing", "stage.name: fake_stage has no class 'Missing'"),
    ],
)
def test_refusals_are_one_line_that_names_the_key(mapping: Mapping, key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(changed(mapping, key, value))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("mode", "dry", True),
        ("run.root", "elsewhere", True),
        ("launch.ranks", 4, True),
        ("tracking.name", "none", True),
        ("rollout.batch_size", 7, True),
        ("seed", 1, False),
        ("zero.stage", 3, False),
        ("stage.steps", 4, False),
        ("reward.r_b", -0.1, False),
        ("eval_datasets.x.limit", 4, False),
    ],
)
def test_identity_is_what_results_depend_on(mapping: Mapping, key: str, value: Any, same: bool) -> None:
    before, after = load_config(mapping), load_config(changed(mapping, key, value))
    assert (identity(to_mapping(before)) == identity(to_mapping(after))) is same
    assert (run_name(before) == run_name(after)) is same


def test_the_folder_follows_from_the_run_unless_it_is_given(mapping: Mapping) -> None:
    config = load_config(changed(mapping, "model.name", "my/model 2.5"))
    assert run_name(config).startswith("FakeStage-my_model_2.5-mini-budget_cosine-s0-")
    assert run_dir(config) == Path("runs") / run_name(config)
    assert run_dir(load_config(changed(mapping, "run.dir", "there"))) == Path("there")


def test_ranks_on_several_machines(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# ours\na slots=4\nb slots=2\n")
    assert DeepspeedLaunch(hostfile=str(hosts)).total_ranks() == 6
    assert DeepspeedLaunch(hostfile=str(hosts), ranks=2).total_ranks() == 4
    assert SlurmLaunch(nodes=3, ranks=8).total_ranks() == 24
    assert LocalLaunch(ranks=3).total_ranks() == 3
    hosts.write_text("a slots=4\nb\n")
    with pytest.raises(RequestError, match=r"launch\.hostfile: .*line 2"):
        DeepspeedLaunch(hostfile=str(hosts)).total_ranks()
    with pytest.raises(RequestError, match=r"launch\.hostfile: there is no file"):
        DeepspeedLaunch(hostfile="nowhere").total_ranks()


def part_class(group: str, node: Mapping) -> type:
    """The dataclass of a group's option."""
    chosen: dict[str, Callable[[str], type]] = config_module._CLASS_FINDERS
    name = node.get(config_module._CLASS_NAME_KEY.get(group, "name"), "")
    return chosen[group](name) if group in chosen else config_module._FIXED_GROUPS[group]


def field_names(part: type, above: str = "") -> set[str]:
    """Dotted names of all fields, those of nested dataclasses included."""
    hints, names = get_type_hints(part), set()
    for field in dataclasses.fields(part):
        inner = hints[field.name]
        path = f"{above}{field.name}"
        nested = isinstance(inner, type) and dataclasses.is_dataclass(inner)
        names |= field_names(inner, f"{path}.") if nested else {path}
    return names


def raw(path: Path) -> Mapping:
    """A file's content, interpolations left as they are."""
    return OmegaConf.to_container(OmegaConf.load(path))  # pyright: ignore[reportReturnType]


def option(path: Path) -> Mapping:
    """An option's content, laid over the options of its own group that its defaults list names."""
    node = raw(path)
    bases = [entry for entry in node.pop("defaults", []) if "@" not in entry and entry != "_self_"]
    for base in bases:
        merged = OmegaConf.merge(option(path.with_name(f"{base}.yaml")), node)
        node = OmegaConf.to_container(merged)  # pyright: ignore[reportAssignmentType]
    return node


def parts_of_their_own(path: Path) -> set[str]:
    """Keys of an option that are filled by other options: `grpo@grpo`."""
    entries = raw(path).get("defaults", [])
    return {entry.partition("@")[2] for entry in entries if "@" in entry}


def test_every_option_lists_exactly_the_fields_of_its_class(repo: Path) -> None:
    """The YAML files are the documentation of what can be set."""
    options = [path for path in (repo / "conf").glob("*/*.yaml") if path.parent.name != "experiment"]
    assert len(options) > 20
    for path in options:
        node, elsewhere = option(path), parts_of_their_own(path)
        names = field_names(part_class(path.parent.name, node))
        keys = {"formats" if key.startswith("formats.") else key for key in flatten(node)}  # a format checks its own
        listed = {key for key in keys if key.partition(".")[0] not in elsewhere}
        assert listed == {key for key in names if key.partition(".")[0] not in elsewhere}, path


def test_a_run_is_what_comes_out_of_it_not_where_or_how_fast() -> None:
    def identified(**changes: object) -> object:
        base = {
            "model": {"path": "a"},
            "mode": "run",
            "launch": {"ranks": 1},
            "rollout": {"batch_size": 8, "name": "native"},
        }
        return identity({**base, **changes})

    assert identified(model={"path": "b"}) != identified()
    assert identified(rollout={"batch_size": 8, "name": "transformers"}) != identified()
    assert identified(mode="dry", launch={"ranks": 2}, rollout={"batch_size": 4, "name": "native"}) == identified()


def test_where_a_server_is_does_not_change_what_it_writes() -> None:
    def identified(**changes: object) -> object:
        return identity({"rollout": {"name": "openai", "url": "http://a", "model": "m", **changes}})

    assert identified(url="http://b", concurrency=1, retries=0, timeout=1.0, api_key_env="KEY").keys() == {
        "rollout.name",
        "rollout.model",
    }
    assert identified(model="other") != identified()


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        ({"name": "grpo"}, "rollout: stage=grpo generates with the weights being trained.*use rollout=native"),
        ({"name": "pretrain"}, "rollout: stage=pretrain generates with the weights being trained"),
        ({"name": "cold_start"}, r"stage\.check_problems: rollout=openai can sample the initial model.*set 0"),
        ({"name": "cold_start", "check_problems": 0}, None),
        ({"name": "label"}, None),
        ({"name": "evaluate"}, None),
    ],
)
def test_a_server_writes_for_stages_that_do_not_train_what_it_runs(stage: Mapping, fault: str | None) -> None:
    parts = {"stage": stage, "reward": {"name": "accuracy"}, "rollout": {"name": "openai"}}
    faults = list(map(str, config_module.errors(load_config(parts))))
    assert (faults == []) if fault is None else re.search(fault, "\n".join(faults))
