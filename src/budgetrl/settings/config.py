"""The typed configuration of a run: builds the settings of all groups, checks them together, and names the run."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from budgetrl.core.checks import suggest_name
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.data.sources.registry import source_class
from budgetrl.decoding.base import DecodingMethod
from budgetrl.decoding.registry import decoding_class
from budgetrl.objectives.base import Objective
from budgetrl.objectives.registry import objective_class
from budgetrl.rewards.registry import reward_class
from budgetrl.rewards.reward import Reward
from budgetrl.runs.identity import flatten, identity
from budgetrl.runs.tracking import TrackingSettings
from budgetrl.settings.algorithm import Algorithm
from budgetrl.settings.auto import Rule
from budgetrl.settings.checkpoint import path_error
from budgetrl.settings.launch import LaunchSettings, launch_class
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.rollout.base import RolloutSettings
from budgetrl.settings.rollout.registry import rollout_class
from budgetrl.settings.stages.base import StageSettings, missing_files
from budgetrl.settings.stages.registry import stage_class
from budgetrl.settings.strict import ConfigError, build, to_plain
from budgetrl.settings.zero import ZeroSettings

MODES = ("run", "dry")


@dataclass(frozen=True)
class RunSettings:
    """Where a run is stored, and which of its results a sweeper optimizes."""

    dir: str | None = None
    """The run folder. null: a folder in `root` with a name derived from the configuration."""
    root: str = "runs"
    """Parent folder of run folders with derived names. In a multirun, hydra.sweep.dir is used instead."""
    metric: str | None = None
    """Key in result.json that a sweeper optimizes; null: none."""


@dataclass(frozen=True)
class Config:
    """The complete configuration of one run."""

    stage: StageSettings
    model: ModelSettings
    dataset: DatasetSettings
    reward: Reward
    algorithm: Algorithm
    objective: Objective
    decoding: DecodingMethod
    rollout: RolloutSettings
    zero: ZeroSettings
    launch: LaunchSettings
    tracking: TrackingSettings
    run: RunSettings
    eval_datasets: dict[str, DatasetSettings]
    """Data sets to evaluate on, by name. Filled in from `stage.datasets`."""
    seed: int = 0
    """Seed for everything random in the run."""
    mode: str = "run"
    """run, or dry: print and write the plan, then stop."""

    def with_checkpoint(self, path: Path) -> "Config":
        """Return this configuration with the checkpoint in folder `path` as its model."""
        return replace(self, model=replace(self.model, path=str(path), revision=None))  # a folder has no Hub revision

    def for_part(self, stage: StageSettings, folder: Path) -> "Config":
        """Return the configuration of one part of this run: the same, but with another stage and folder."""
        return replace(self, stage=stage, run=replace(self.run, dir=str(folder)))


def load_config(mapping: Mapping[str, Any], auto_keys: dict[str, Rule] | None = None) -> Config:
    """Build a configuration from a mapping such as the content of `config.yaml`, and check each of its groups.

    Args:
        mapping: the keys and values, without interpolations.
        auto_keys: if given, settings may be `auto`. Their dotted keys are added to this dictionary, and placeholder
            numbers are used until `planning.auto.resolve_auto` computes the real ones.

    Raises:
        ConfigError: for an unknown key, a missing value, a value of the wrong type, or an invalid value.
    """
    known = [f.name for f in dataclasses.fields(Config)]
    for key in mapping:
        if key not in known:
            dotted = next(iter(flatten({key: mapping[key]})))  # name `new.key` rather than `new`
            raise ConfigError(Message(dotted, "there is no such key", suggest_name(str(key), known)))
    for key, value in flatten(mapping).items():
        if value == MISSING:  # "???" in a YAML file
            raise ConfigError(Message(key, "a value must be given"))
    top = build(_TopLevel, {key: mapping[key] for key in ("seed", "mode") if key in mapping}, "")
    groups: dict[str, Any] = {}
    for key, cls in _FIXED_GROUPS.items():
        groups[key] = build(cls, mapping.get(key, {}), key, auto_keys)
    for key in _CLASS_FINDERS:
        groups[key] = _build_named(key, mapping.get(key, {}), key, auto_keys)
    eval_datasets: dict[str, DatasetSettings] = {}
    for name, node in mapping.get("eval_datasets", {}).items():
        eval_datasets[str(name)] = _build_named("dataset", node, f"eval_datasets.{name}")
    return Config(seed=top.seed, mode=top.mode, eval_datasets=eval_datasets, **groups)


def read_config(path: Path) -> Config:
    """Read the configuration from a run's `config.yaml`."""
    return load_config(read_mapping(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file as plain dictionaries and lists.

    Uses OmegaConf, because PyYAML reads `1e-5` as a string.
    """
    return to_plain(OmegaConf.load(path))


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the configuration as nested dictionaries: the inverse of `load_config`."""
    return dataclasses.asdict(config)


def to_yaml(config: Config) -> str:
    """Return the configuration as the content of a `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(to_mapping(config)))


def errors(config: Config) -> list[Message]:
    """Return the reasons why this combination of settings cannot run; empty if there are none.

    Values that are invalid by themselves are already rejected by `load_config`.
    """
    missing = missing_files(config.stage.dataset_splits(config), config)
    general = [*_metric_errors(config), *_engine_errors(config), *_decoding_errors(config), *_model_errors(config)]
    return [*general, *missing, *config.stage.errors(config)]


def _model_errors(config: Config) -> list[Message]:
    """Return an error if the run needs a model that cannot be found."""
    # A dry run may plan for a checkpoint that an earlier run has yet to write.
    if config.mode == "dry" or not config.stage.workload(config).uses_model:
        return []
    error = path_error(config.model)
    return [error] if error else []


def _metric_errors(config: Config) -> list[Message]:
    """Return errors if a sweeper needs each job's result at once, but the launcher returns before there is one."""
    if config.run.metric is None:
        return []
    found = []
    if config.launch.is_submitted:
        text = "a submitted job has no result when the command returns, so a sweeper has nothing to optimize"
        found.append(Message("run.metric", text, "use launch=local or launch=deepspeed"))
    if config.launch.jobs_at_once() > 1:
        text = "a sweeper needs the result of each job before the next one starts"
        found.append(Message("run.metric", text, "set launch.at_once=1"))
    return found


def _engine_errors(config: Config) -> list[Message]:
    """Return an error if the stage generates with weights in training, and the engine cannot use them."""
    work = config.stage.workload(config)
    if config.rollout.capabilities.follows_training or not work.generates_with_trained_weights:
        return []
    stage, engine = config.stage.name, config.rollout.name
    text = f"stage={stage} generates with the weights being trained, which rollout={engine} cannot"
    return [Message("rollout", text, "use rollout=native or rollout=transformers")]


def _decoding_errors(config: Config) -> list[Message]:
    """Return what keeps the decoding method from working in this stage, or on this engine."""
    work = config.stage.workload(config)
    if not work.generates:
        return []
    found: dict[Message, None] = {}  # a dictionary removes duplicates: the parts of a pipeline may share a limit
    for limit in work.completion_limits.values():
        for message in config.decoding.errors(limit):
            found[message.below("decoding")] = None
    for capability in config.decoding.required_capabilities():
        if not getattr(config.rollout.capabilities, capability):
            text = f"decoding={config.decoding.name} needs an engine with {capability.replace('_', ' ')}"
            found[Message("rollout", f"{text}, which rollout={config.rollout.name} has not", "use rollout=native")] = (
                None
            )
    if work.generates_in_training:
        for message in config.decoding.training_errors():
            found[message.below("decoding")] = None
    return list(found)


def run_name(config: Config) -> str:
    """Return the derived run name: `<stage>-<model>-<dataset>-<reward>-s<seed>-<hash>`.

    The hash covers every setting that affects results, such as `grpo-mini-mini-budget_cosine-s0-1a2b3c4d`.
    """
    content = json.dumps(identity(to_mapping(config)), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    stage = config.stage.name.rpartition(".")[2]  # `my_package.stages.MyStage` -> `MyStage`
    reward = config.reward.name.rpartition(".")[2]
    names = (stage, config.model.name, config.dataset.name, reward)
    # Names may contain slashes and spaces, which do not belong in a folder name.
    safe = [re.sub(r"[^\w.]+", "_", name) for name in names]
    return "-".join([*safe, f"s{config.seed}", digest])


def run_dir(config: Config) -> Path:
    """Return the run folder: `run.dir`, or a folder in `run.root` with the derived name."""
    return Path(config.run.dir) if config.run.dir else Path(config.run.root) / run_name(config)


@dataclass(frozen=True)
class _TopLevel:
    """The keys that are not in a group."""

    seed: int = 0
    mode: str = "run"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingError("mode", f"must be {' or '.join(MODES)}, got {self.mode!r}")


_FIXED_GROUPS: dict[str, type] = {
    "model": ModelSettings,
    "algorithm": Algorithm,
    "zero": ZeroSettings,
    "tracking": TrackingSettings,
    "run": RunSettings,
}
"""Groups whose settings class is always the same."""

_CLASS_FINDERS: dict[str, Callable[[str], type]] = {
    "dataset": source_class,
    "rollout": rollout_class,
    "launch": launch_class,
    "reward": reward_class,
    "objective": objective_class,
    "decoding": decoding_class,
    "stage": stage_class,
}
"""Groups in which one key selects the settings class, such as `reward.name: kimi`; the function finds the class."""

_CLASS_NAME_KEY = {"dataset": "source"}
"""The key that selects the class, for groups where it is not `name`."""

_DEFAULT_CLASS_NAME = {
    "dataset": "mini",
    "rollout": "native",
    "launch": "local",
    "objective": "supervised",
    "decoding": "sampling",
}
"""The class selected if the key is not given. Groups not listed here must give it."""


def _build_named(group: str, node: Any, at: str, auto_keys: dict[str, Rule] | None = None) -> Any:
    """Build the settings of a group in which one key selects the class. `at` is the dotted key of the group."""
    if not isinstance(node, Mapping):
        raise ConfigError(Message(at, f"must be a group of keys, got {node!r}"))
    key = _CLASS_NAME_KEY.get(group, "name")
    name = node.get(key, _DEFAULT_CLASS_NAME.get(group))
    if not isinstance(name, str):
        raise ConfigError(Message(f"{at}.{key}", f"must be given, as the name of a {group}"))
    try:
        cls = _CLASS_FINDERS[group](name)
    except SettingError as error:
        raise ConfigError(error.message.below(at)) from None
    return build(cls, node, at, auto_keys)
