"""The typed configuration of a run: it gathers the parts of all groups, checks them together, and names the run."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from budgetrl.core.checks import nearest
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.data.sources.registry import source_class
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
    """Where a run lies."""

    dir: str | None = None
    """The run folder; null derives its name from the configuration, below `root`."""
    root: str = "runs"
    """Folder of the derived run folders; in a multirun it is hydra.sweep.dir."""
    metric: str | None = None
    """The key of result.json that a sweeper optimizes; null for none."""


@dataclass(frozen=True)
class Config:
    """Everything about one run."""

    stage: StageSettings
    model: ModelSettings
    dataset: DatasetSettings
    reward: Reward
    algorithm: Algorithm
    objective: Objective
    rollout: RolloutSettings
    zero: ZeroSettings
    launch: LaunchSettings
    tracking: TrackingSettings
    run: RunSettings
    eval_datasets: dict[str, DatasetSettings]
    """Data sets to evaluate on, by name; filled from `stage.datasets`."""
    seed: int = 0
    """Everything random in the run follows from it."""
    mode: str = "run"
    """run, or dry: print and write the plan, then stop."""

    def with_checkpoint(self, path: Path) -> "Config":
        """The same with the checkpoint in a folder as its model."""
        return replace(self, model=replace(self.model, path=str(path), revision=None))

    def for_part(self, stage: StageSettings, folder: Path) -> "Config":
        """The configuration of a run of `stage` inside this one, in a folder of its own."""
        return replace(self, stage=stage, run=replace(self.run, dir=str(folder)))


def load_config(mapping: Mapping[str, Any], auto_keys: dict[str, Rule] | None = None) -> Config:
    """Check a whole configuration, as `config.yaml` holds it, and build it.

    A request may also have `auto` in some settings: `auto_keys` then takes their keys, and numbers stand in.

    Raises:
        ConfigError: for an unknown key, a missing or mistyped value, or one that its part refuses.
    """
    known = [f.name for f in dataclasses.fields(Config)]
    for key in mapping:
        if key not in known:
            dotted = next(iter(flatten({key: mapping[key]})))
            raise ConfigError(Message(dotted, "there is no such key", nearest(str(key), known)))
    for key, value in flatten(mapping).items():
        if value == MISSING:
            raise ConfigError(Message(key, "a value must be given"))
    top = build(_Top, {key: mapping[key] for key in ("seed", "mode") if key in mapping}, "")
    parts = {key: build(part, mapping.get(key, {}), key, auto_keys) for key, part in _FIXED_GROUPS.items()}
    chosen = {key: _build_chosen(key, mapping.get(key, {}), key, auto_keys) for key in _GROUPS_BY_CLASS_NAME}
    sets: dict[str, DatasetSettings] = {}
    for name, node in mapping.get("eval_datasets", {}).items():
        sets[str(name)] = _build_chosen("dataset", node, f"eval_datasets.{name}")
    return Config(seed=top.seed, mode=top.mode, eval_datasets=sets, **parts, **chosen)


def read_config(path: Path) -> Config:
    """The configuration in a run's `config.yaml`."""
    return load_config(read_mapping(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The plain content of a YAML file. Not read with PyYAML alone, for which 1e-5 is a string."""
    return to_plain(OmegaConf.load(path))


def to_mapping(config: Config) -> dict[str, Any]:
    """The inverse of `load_config`."""
    return dataclasses.asdict(config)


def to_yaml(config: Config) -> str:
    """The content of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(to_mapping(config)))


def errors(config: Config) -> list[Message]:
    """What cannot work in this combination of parts."""
    missing = missing_files(config.stage.dataset_splits(config), config)
    own = [*_metric_errors(config), *_engine_errors(config), *_model_errors(config)]
    return [*own, *missing, *config.stage.errors(config)]


def _model_errors(config: Config) -> list[Message]:
    """A model that a run cannot find; a plan may be of one that another run is still to make."""
    if config.mode == "dry" or not config.stage.workload(config).uses_model:
        return []
    wrong = path_error(config.model)
    return [wrong] if wrong else []


def _metric_errors(config: Config) -> list[Message]:
    if config.run.metric is None:
        return []
    found = []
    if config.launch.is_submitted:
        found.append(
            Message("run.metric", "a job that is only submitted has no number to optimize yet", "use another launch")
        )
    if config.launch.jobs_at_once() > 1:
        found.append(
            Message("run.metric", "a job that waits for others has no number to optimize yet", "set launch.at_once=1")
        )
    return found


def _engine_errors(config: Config) -> list[Message]:
    """What the stage asks of the engine that the engine cannot do."""
    work = config.stage.workload(config)
    if config.rollout.capabilities.follows_training or not work.generates_with_trained_weights:
        return []
    stage, engine = config.stage.name, config.rollout.name
    text = f"stage={stage} generates with the weights being trained, which rollout={engine} cannot"
    return [Message("rollout", text, "use rollout=native or rollout=transformers")]


def run_name(config: Config) -> str:
    """`<stage>-<model>-<dataset>-<reward>-s<seed>-<hash of everything that matters>`, without module names."""
    content = json.dumps(identity(to_mapping(config)), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    stage, reward = (name.rpartition(".")[2] for name in (config.stage.name, config.reward.name))
    parts = (stage, config.model.name, config.dataset.name, reward)
    return "-".join([*(re.sub(r"[^\w.]+", "_", part) for part in parts), f"s{config.seed}", digest])


def run_dir(config: Config) -> Path:
    """The run folder: `run.dir`, or the derived name below `run.root`."""
    return Path(config.run.dir) if config.run.dir else Path(config.run.root) / run_name(config)


@dataclass(frozen=True)
class _Top:
    """The keys outside the groups."""

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
_GROUPS_BY_CLASS_NAME: dict[str, Callable[[str], type]] = {
    "dataset": source_class,
    "rollout": rollout_class,
    "launch": launch_class,
    "reward": reward_class,
    "objective": objective_class,
    "stage": stage_class,
}
"""Groups one of whose keys says which class they are."""

_CLASS_NAME_KEY = {"dataset": "source"}
"""That key, where it is not `name`."""

_DEFAULT_CLASS_NAME = {"dataset": "mini", "rollout": "native", "launch": "local", "objective": "supervised"}
"""Its value in a group that gives none."""


def _build_chosen(group: str, node: Any, at: str, auto_keys: dict[str, Rule] | None = None) -> Any:
    """The settings at the key `at`, of the class that they name themselves."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{at}: must be a group of keys, got {node!r}")
    key = _CLASS_NAME_KEY.get(group, "name")
    name = node.get(key, _DEFAULT_CLASS_NAME.get(group))
    if not isinstance(name, str):
        raise ConfigError(f"{at}.{key}: must be given, as the name of a {group}")
    try:
        part = _GROUPS_BY_CLASS_NAME[group](name)
    except SettingError as error:
        raise ConfigError(error.message.below(at)) from None
    return build(part, node, at, auto_keys)
