"""Weights & Biases tracking: one W&B run per run folder, online if the user is logged in, otherwise offline.

`metrics.jsonl` is the source of truth. W&B's own step counter is never used: it rejects steps that repeat after
a resume. Instead every row has its step as an ordinary value, and charts use that value as their x axis.
"""

import logging
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from budgetrl.core.checks import require, require_option

if TYPE_CHECKING:
    from wandb import Run

LOG = logging.getLogger(__name__)

BACKENDS = ("wandb", "none")
MODES = ("auto", "online", "offline", "disabled")


@dataclass(frozen=True)
class TrackingSettings:
    """The `tracking` group."""

    name: str = "wandb"
    """wandb or none. metrics.jsonl is always written."""
    mode: str = "auto"
    """auto, online, offline or disabled. auto: WANDB_MODE if set, else online if logged in, else offline."""
    project: str = "budgetrl"
    """The W&B project."""
    entity: str | None = None
    """The W&B user or team. null: the account's default."""
    group: str | None = None
    """The W&B group. null: no group, or in a sweep the name of the sweep folder."""
    tags: tuple[str, ...] = ()
    """Labels for filtering runs."""

    def __post_init__(self) -> None:
        require_option(self, BACKENDS, "name")
        require_option(self, MODES, "mode")
        require(bool(self.project), "project", "must not be empty", "every W&B run belongs to a project")


@dataclass(frozen=True)
class Tracker:
    """Sends metrics, completions and figures to W&B. Does nothing if `backend` is None.

    `at("grpo")` returns a view for a part of a pipeline: its keys become `grpo/...`, and its charts have their own
    step axis. As a context manager, it finishes the W&B run, and marks it as failed after an exception.
    """

    backend: "Run | None" = None
    prefix: str = ""
    location: str = ""
    """The URL of the W&B run, or the command that uploads an offline one. Empty without a backend."""
    _defined: set[str] = field(default_factory=set, repr=False)
    """Prefixes whose step axis is already defined in W&B. All views share this set."""

    @classmethod
    def start(cls, settings: TrackingSettings, run_dir: Path, config: Mapping[str, Any], rank: int = 0) -> "Tracker":
        """Start or continue the W&B run of `run_dir`. Ranks above 0 get a tracker that does nothing.

        Args:
            config: The run's configuration as a plain dictionary.

        Raises:
            wandb.errors.CommError: If `mode=online` and the W&B server cannot be reached.
        """
        mode = _resolve_mode(settings) if rank == 0 and settings.name == "wandb" else "disabled"
        if mode == "disabled":
            return cls()
        run = _open_run(settings, run_dir, config, mode)
        return cls(backend=run, location=_log_location(run))

    def at(self, stage: str) -> "Tracker":
        """Return a tracker of the same W&B run that puts `stage/` before every key."""
        return Tracker(self.backend, f"{self.prefix}{stage}/", self.location, self._defined)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log a row of metrics, exactly as it is in `metrics.jsonl`. A step may repeat after a resume."""
        if self.backend is None:
            return
        self._define_step_axis(self.backend)
        row = {**metrics, "step": step}
        self.backend.log({self.prefix + key: value for key, value in row.items()})

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log the rows of `metrics.jsonl` from before a resume again, if the W&B run is offline."""
        # Offline, each process writes a record of its own, and a killed process may lose the last seconds of
        # its record. After the replay, the newest record has the whole run. Online, the server has all rows.
        if self.backend is not None and self.backend.settings.mode == "offline":
            for row in rows:
                self.log(row, int(row["step"]))

    def log_completions(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Log completions as a table."""
        self.log_table("completions", rows, step)

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Log rows as a table with one column per key. A row without that key gets an empty cell."""
        if self.backend is None or not rows:
            return
        import wandb

        keys: dict[Any, None] = {}  # a dictionary as an ordered set
        for row in rows:
            keys |= dict.fromkeys(row)
        columns = list(keys)
        data: list[Any] = []
        for row in rows:
            data.append([row.get(column) for column in columns])
        # Mixed types: W&B otherwise rejects a column of integers with a null, such as a budget that was not written.
        self.log({name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)}, step)

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        """Log image files under `figures/<name>`."""
        if self.backend is None or not figures:
            return
        import wandb

        images: dict[str, Any] = {}
        for name, path in figures.items():
            images[f"{self.prefix}figures/{name}"] = wandb.Image(str(path))
        self.backend.log(images)

    def log_result(self, result: Mapping[str, float]) -> None:
        """Write the final metrics (`result.json`) to the summary of the W&B run."""
        if self.backend is not None:
            self.backend.summary.update({self.prefix + key: value for key, value in result.items()})

    def finish(self, exit_code: int = 0) -> None:
        """Finish the W&B run and wait until everything is written or uploaded."""
        if self.backend is None:
            return
        import wandb

        self.backend.finish(exit_code=exit_code)
        wandb.teardown()  # `finish` alone can return before the offline record is on disk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(exit_code=0 if kind is None else 1)

    def _define_step_axis(self, run: "Run") -> None:
        """Make `<prefix>step` the x axis of all charts under the prefix, the first time it is used."""
        if self.prefix in self._defined:
            return
        run.define_metric(f"{self.prefix}step", hidden=True)
        run.define_metric(f"{self.prefix}*", step_metric=f"{self.prefix}step")
        self._defined.add(self.prefix)


def _resolve_mode(settings: TrackingSettings) -> str:
    """Return online, offline or disabled. Never prompts the user or contacts a server."""
    if settings.mode != "auto":
        return settings.mode
    if chosen := os.environ.get("WANDB_MODE"):
        require(
            chosen in MODES[1:], "WANDB_MODE", f"{chosen!r} is not one of {', '.join(MODES[1:])}", "change or unset it"
        )
        return chosen
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _open_run(settings: TrackingSettings, run_dir: Path, config: Mapping[str, Any], mode: str) -> "Run":
    """Start the W&B run, or fall back to an offline one if `auto` chose online and the server cannot be reached."""
    import wandb
    from wandb.errors import CommError

    def init(mode: Any) -> "Run":
        return wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=settings.tags or None,
            name=run_dir.resolve().name,
            id=_run_id(run_dir),
            resume="allow",  # continue the run if the id exists, else create it
            mode=mode,
            dir=str(run_dir.absolute()),  # wandb's service may run in another working directory
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),  # the run folder has its own logs
        )

    try:
        return init(mode)
    except CommError as error:
        if settings.mode != "auto":  # the user asked for an online run
            raise
        LOG.warning("cannot reach W&B, recording offline; set tracking.mode=offline to avoid the wait: %s", error)
        wandb.teardown()  # its service still reserves the id for the run that failed to start
        return init("offline")


def _run_id(run_dir: Path) -> str:
    """Return the W&B id of a run folder. It is chosen at random once and saved in the folder."""
    # An id derived from the path would be wrong in three cases: a moved folder would become a new run, a deleted
    # and repeated run would continue the old one, and equal paths on two machines would share one run.
    path = run_dir / "wandb" / "run_id.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(6) + "\n")
    return path.read_text().strip()


def _log_location(run: "Run") -> str:
    """Log and return the run's URL, or the command that uploads it. W&B itself is silenced."""
    if run.settings.mode == "offline":
        location = f"wandb sync {run.settings.sync_dir}"
        LOG.info("W&B: recording offline; to upload, run: %s", location)
    else:
        location = str(run.url)
        LOG.info("W&B: %s", location)
    return location
