"""The typed configuration of a run: a mapping in, frozen dataclasses out, or one line saying which key is wrong."""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from budgetrl.budget.errors import RequestError
from budgetrl.data.problems import DatasetSpec
from budgetrl.policy.spec import ModelSpec
from budgetrl.rewards.registry import shape_class
from budgetrl.rewards.shape import Shape
from budgetrl.rollout.engine import AnyRollout, ServerSpec, rollout_class
from budgetrl.run.machine import count_cores, count_gpus
from budgetrl.run.tracking import TrackingSpec
from budgetrl.stages.base import Job, Stage, missing_files
from budgetrl.stages.registry import stage_class
from budgetrl.training.algorithm import Algorithm
from budgetrl.training.zero import ZeroSpec

MODES = ("run", "dry")
LAUNCHERS = ("local", "deepspeed", "slurm")
NOT_IDENTITY = re.compile(
    r"(run|launch|tracking)\..*|mode|stage\.shared|rollout\.(batch_size|url|concurrency|retries|timeout|api_key_env)"
)
"""Keys that change where and how fast a run happens, not what comes out of it."""

T = TypeVar("T")


class ConfigError(RequestError):
    """A key or value of the configuration is wrong; the message names the dotted key."""


@dataclass(frozen=True)
class RunSpec:
    """Where a run lies."""

    dir: str | None = None
    """The run folder; null derives its name from the configuration, below `root`."""
    root: str = "runs"
    """Folder of the derived run folders; in a multirun it is hydra.sweep.dir."""
    objective: str | None = None
    """The key of result.json that a sweeper optimises; null for none."""


@dataclass(frozen=True)
class LaunchSpec:
    """The `launch` group: which processes a run has, and how they are started."""

    name: str = "local"
    """local (processes on this machine), deepspeed (its launcher) or slurm (an sbatch script)."""
    ranks: int | None = None
    """Processes on each machine; null for one per GPU, or one where there is none or several jobs run at once."""
    threads: int | None = None
    """CPU threads of each rank; null shares the cores out."""
    at_once: int = 1
    """local and deepspeed: jobs of a multirun at the same time; each has ranks, GPUs and cores of its own."""
    grace_seconds: float = 30.0
    """local and deepspeed: how long ranks that were told to stop may take to save before they are killed."""
    hostfile: str | None = None
    """deepspeed: file with a line `host slots=n` for each machine; null for this machine alone."""
    nodes: int = 1
    """slurm: machines."""
    partition: str | None = None
    """slurm: partition; null for the cluster's default."""
    account: str | None = None
    """slurm: account to charge; null for the user's default."""
    time: str = "24:00:00"
    """slurm: time limit; the run saves and stops two minutes before it."""
    lines: list[str] = field(default_factory=list)
    """slurm: further lines for the script, such as `module load cuda` or `#SBATCH --mem=0`."""

    def __post_init__(self) -> None:
        if self.name not in LAUNCHERS:
            raise ValueError(f"name: {self.name!r} is not a launcher; {nearest(self.name, LAUNCHERS)}")
        for key in ("ranks", "threads", "at_once", "nodes"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key}: must be at least 1, got {value}")
        if self.grace_seconds < 0:
            raise ValueError(f"grace_seconds: must not be negative, got {self.grace_seconds}")
        for part in dataclasses.fields(self):
            launchers, value = _READ_BY.get(part.name, LAUNCHERS), getattr(self, part.name)
            default = [] if part.default is dataclasses.MISSING else part.default
            if self.name not in launchers and value != default:
                raise ValueError(f"{part.name}: is for launch={' or launch='.join(launchers)}, not {self.name}")
        if self.name == "slurm" and self.ranks is None:
            raise ValueError("ranks: must be given for slurm, whose nodes' GPUs cannot be counted from here")

    def ranks_per_machine(self) -> int:
        """Processes on each machine."""
        return self.ranks or (1 if self.at_once > 1 else max(1, count_gpus()))

    def threads_per_rank(self) -> int:
        """CPU threads of each rank on this machine."""
        return self.threads or max(1, count_cores() // (self.ranks_per_machine() * self.at_once))

    def total_ranks(self) -> int:
        """Processes altogether."""
        if self.name == "slurm":
            return self.nodes * self.ranks_per_machine()
        if self.name == "deepspeed" and self.hostfile:
            slots = _slots(Path(self.hostfile))
            return len(slots) * self.ranks if self.ranks else sum(slots)
        return self.ranks_per_machine()


_READ_BY = {
    **dict.fromkeys(("at_once", "grace_seconds"), ("local", "deepspeed")),
    "hostfile": ("deepspeed",),
    **dict.fromkeys(("nodes", "partition", "account", "time", "lines"), ("slurm",)),
}
"""The launchers that a key of LaunchSpec means something to; all of them where it is not named here."""


def _slots(hostfile: Path) -> list[int]:
    """Processes on each host of a hostfile with lines such as `worker-1 slots=8`.

    Raises:
        ConfigError: naming file and line, where a line has another form.
    """
    if not hostfile.is_file():
        raise ConfigError(f"launch.hostfile: there is no file {hostfile}")
    slots = []
    for number, line in enumerate(hostfile.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if (found := re.fullmatch(r"\S+\s+slots=(\d+)\s*", line)) is None:
            raise ConfigError(f"launch.hostfile: {hostfile}, line {number}: must be like `worker-1 slots=8`")
        slots.append(int(found.group(1)))
    return slots


@dataclass(frozen=True)
class Config:
    """Everything about one run."""

    stage: Stage
    model: ModelSpec
    dataset: DatasetSpec
    reward: Shape
    algorithm: Algorithm
    rollout: AnyRollout
    zero: ZeroSpec
    launch: LaunchSpec
    tracking: TrackingSpec
    run: RunSpec
    eval_datasets: dict[str, DatasetSpec]
    """Data sets to evaluate on, by name; filled from `stage.datasets`."""
    seed: int = 0
    """Everything random in the run follows from it."""
    mode: str = "run"
    """run, or dry: print and write the plan, then stop."""

    def job(self) -> Job:
        """What the stage gets to see."""
        return Job(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Job)})


def load_config(mapping: Mapping[str, Any]) -> Config:
    """Check a whole configuration, as `config.yaml` holds it, and build it.

    Raises:
        ConfigError: for an unknown key, a missing or mistyped value, or one that its part refuses.
    """
    known = [f.name for f in dataclasses.fields(Config)]
    for key in mapping:
        if key not in known:
            dotted = next(iter(flatten({key: mapping[key]})))
            raise ConfigError(f"{dotted}: there is no such key; {nearest(str(key), known)}")
    for key, value in flatten(mapping).items():
        if value == MISSING:  # merged, it would count as "take the default"
            raise ConfigError(f"{key}: a value must be given")
    top = _strict(_Top, {key: mapping[key] for key in ("seed", "mode") if key in mapping}, "")
    parts = {key: _strict(part, mapping.get(key, {}), key) for key, part in _PARTS.items()}
    chosen = {key: _strict(_chosen(key, mapping, find), mapping.get(key, {}), key) for key, find in _CHOSEN.items()}
    sets = {
        str(name): _strict(DatasetSpec, node, f"eval_datasets.{name}")
        for name, node in mapping.get("eval_datasets", {}).items()
    }
    return Config(seed=top.seed, mode=top.mode, eval_datasets=sets, **parts, **chosen)


def read_config(path: Path) -> Config:
    """The configuration in a run's `config.yaml`."""
    return load_config(read_mapping(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The plain content of a YAML file. Not read with PyYAML alone, for which 1e-5 is a string."""
    return to_plain(OmegaConf.load(path))


def to_plain(node: Any) -> dict[str, Any]:
    """An OmegaConf node as dictionaries and lists, interpolations resolved. Raises ConfigError if that fails."""
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}") from None


def to_mapping(config: Config) -> dict[str, Any]:
    """The inverse of `load_config`."""
    return dataclasses.asdict(config)


def to_yaml(config: Config) -> str:
    """The content of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(to_mapping(config)))


def check(config: Config) -> list[str]:
    """What cannot work in this combination of parts: one line each, beginning with a dotted key."""
    faults = {
        "slurm has taken has no number to optimise yet; use another launch": config.launch.name == "slurm",
        "waits for others has no number to optimise yet; set launch.at_once=1": config.launch.at_once > 1,
    }
    wanted = config.run.objective is not None
    ours = [f"run.objective: a job that {fault}" for fault, holds in faults.items() if wanted and holds]
    job = config.job()
    return [*ours, *_server_faults(config), *missing_files(config.stage.reads(job), job), *config.stage.check(job)]


def _server_faults(config: Config) -> list[str]:
    if not isinstance(config.rollout, ServerSpec) or config.stage.served or not config.stage.runs_model:
        return []
    return [
        f"rollout: stage={config.stage.name} writes with the model that it trains, which no server has; "
        "use rollout=native, or rollout=transformers"
    ]


def flatten(mapping: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted keys to values; an empty group stays as itself.

    >>> flatten({"a": {"b": 1, "c": {}}, "d": 2})
    {'a.b': 1, 'a.c': {}, 'd': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{above}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value})
    return flat


def identity(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The flat keys and values that make a run what it is; equal for runs with equal results."""
    plain = json.loads(json.dumps(mapping))
    return {key: value for key, value in flatten(plain).items() if not NOT_IDENTITY.fullmatch(key)}


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


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """A hint at the valid name that looks most like a wrong one.

    >>> nearest("grp", ["grpo", "label"])
    'did you mean grpo?'
    """
    names = sorted(valid)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


@dataclass(frozen=True)
class _Top:
    """The keys outside the groups."""

    seed: int = 0
    mode: str = "run"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: must be {' or '.join(MODES)}, got {self.mode!r}; {nearest(self.mode, MODES)}")


_PARTS: dict[str, type] = {
    "model": ModelSpec,
    "dataset": DatasetSpec,
    "algorithm": Algorithm,
    "zero": ZeroSpec,
    "launch": LaunchSpec,
    "tracking": TrackingSpec,
    "run": RunSpec,
}
_CHOSEN: dict[str, Callable[[str], type]] = {
    "rollout": rollout_class,
    "reward": shape_class,
    "stage": stage_class,
}
"""Groups whose `name` says which class they are; the one that takes seconds to import comes last."""

_USUAL = {"rollout": "native"}
"""The name in a group that gives none."""


def _chosen(key: str, mapping: Mapping[str, Any], find: Callable[[str], type]) -> type:
    node = mapping.get(key, {})
    if not isinstance(node, Mapping):
        raise ConfigError(f"{key}: must be a group of keys, got {node!r}")
    name = node.get("name", _USUAL.get(key))
    if not isinstance(name, str):
        raise ConfigError(f"{key}.name: must be given, as the name of a {key}")
    try:
        return find(name)
    except ValueError as error:
        raise ConfigError(f"{key}.{error}") from None


def _strict(part: type[T], node: Any, at: str) -> T:
    """Build a dataclass from exactly its own keys, with values of exactly its types."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{at}: must be a group of keys, got {node!r}")
    for name, kind in _nested(part).items():
        _strict(kind, node.get(name, {}), _join(at, name))  # for errors that name the whole path
    schema = OmegaConf.structured(part)
    _unlock(schema)
    try:
        return _with_tuples(OmegaConf.to_object(OmegaConf.merge(schema, dict(node))))  # type: ignore[return-value]
    except ConfigKeyError as error:
        raise ConfigError(_unknown_key(schema, str(error.full_key), at)) from None
    except OmegaConfBaseException as error:
        raise ConfigError(_mistyped(error, node, at)) from None
    except ValueError as error:
        raise ConfigError(_refusal(part, str(error), at)) from None


def _nested(part: type) -> dict[str, type]:
    hints = get_type_hints(part)
    return {f.name: hints[f.name] for f in dataclasses.fields(part) if dataclasses.is_dataclass(hints[f.name])}


def _unlock(node: Any) -> None:
    """OmegaConf makes frozen dataclasses read-only, nested ones even to a merge."""
    if isinstance(node, DictConfig):
        OmegaConf.set_readonly(node, False)
        for key in node:
            _unlock(node._get_node(key))


def _with_tuples(part: Any) -> Any:
    """OmegaConf hands tuples back as lists."""
    hints = get_type_hints(type(part))
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        kinds = (hints[name], *get_args(hints[name]))  # of `tuple[int, ...] | None`, too
        if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds):
            changed[name] = tuple(value)
        elif dataclasses.is_dataclass(value) and (rebuilt := _with_tuples(value)) is not value:
            changed[name] = rebuilt
    return dataclasses.replace(part, **changed) if changed else part


def _mistyped(error: OmegaConfBaseException, node: Mapping[str, Any], at: str) -> str:
    key = str(error.full_key or "")
    if "is not a ListConfig" in str(error):
        return f"{_join(at, key)}: must be a list, such as [{flatten(node)[key]}]"
    return f"{_join(at, key)}: {_first_line(error)}"


def _unknown_key(schema: DictConfig, key: str, at: str) -> str:
    above, _, wrong = key.rpartition(".")
    siblings = OmegaConf.select(schema, above) if above else schema
    place = _join(at, above)
    names = [_join(place, str(name)) for name in siblings]
    return f"{_join(place, wrong)}: there is no such key; {nearest(_join(place, wrong), names)}"


def _refusal(part: type, message: str, at: str) -> str:
    """A part's own refusal, with the group before the field that it names first."""
    word = re.match(r"\w*", message)
    names = {f.name for f in dataclasses.fields(part)}
    if word and word.group() in names:
        return _join(at, message)
    return message if message.startswith(f"{at}.") else f"{at}: {message}"


def _join(above: str, below: str) -> str:
    return f"{above}.{below}" if above and below else above or below


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
