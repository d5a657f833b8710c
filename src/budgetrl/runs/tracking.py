"""Weights & Biases: one W&B run for one run folder, online where the user is logged in, else offline.

`metrics.jsonl` stays the source of truth. W&B's own step counter is never used, because it refuses steps
that come again after a resume: every row carries its step as an ordinary value, and charts are drawn over it.
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
    """wandb or none. metrics.jsonl is written either way."""
    mode: str = "auto"
    """auto (WANDB_MODE if set, else online if logged in, else offline), online, offline or disabled."""
    project: str = "budgetrl"
    """The W&B project."""
    entity: str | None = None
    """The W&B user or team; null for the account's default."""
    group: str | None = None
    """The W&B group; null for none, or in a multirun for the name of its folder."""
    tags: tuple[str, ...] = ()
    """Free labels to filter runs by."""

    def __post_init__(self) -> None:
        require_option(self, BACKENDS, "name")
        require_option(self, MODES, "mode")
        require(bool(self.project), "project", "must not be empty: W&B files every run under a project")


@dataclass(frozen=True)
class Tracker:
    """Where metrics, completions and figures go besides the run folder; nowhere if `backend` is None.

    `at("grpo")` gives a view for a sub-stage: its keys become `grpo/...`, its charts have their own steps.
    As a context manager it finishes the run, marked failed if an exception passes through.
    """

    backend: "Run | None" = None
    prefix: str = ""
    location: str = ""
    """Where the run can be seen: an address, or the command that uploads it; empty without a backend."""
    _defined: set[str] = field(default_factory=set, repr=False)
    """Prefixes whose step axis W&B knows already; shared by all views."""

    @classmethod
    def start(cls, spec: TrackingSettings, run_dir: Path, config: Mapping[str, Any], rank: int = 0) -> "Tracker":
        """Start or continue the W&B run of `run_dir`. Ranks above 0 get a tracker that does nothing.

        `config` is a plain dictionary. Raises wandb's CommError if `mode=online` and nobody answers.
        """
        mode = _resolve_mode(spec) if rank == 0 and spec.name == "wandb" else "disabled"
        if mode == "disabled":
            return cls()
        run = _open_run(spec, run_dir, config, mode)
        return cls(backend=run, location=_announce(run))

    def at(self, stage: str) -> "Tracker":
        """The same run, seen from a sub-stage."""
        return Tracker(self.backend, f"{self.prefix}{stage}/", self.location, self._defined)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """One row of metrics, exactly as `metrics.jsonl` has it. A step may come again."""
        if self.backend is None:
            return
        self._define_step_axis(self.backend)
        row = {**metrics, "step": step}
        self.backend.log({self.prefix + key: value for key, value in row.items()})

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """After a resume: the rows of `metrics.jsonl` that earlier processes wrote.

        An offline record is a new file for each process, and a killed one may lack its last seconds. After
        a replay the newest file holds the whole run. Online the server has the rows, so nothing is sent.
        """
        if self.backend is not None and self.backend.settings.mode == "offline":
            for row in rows:
                self.log(row, int(row["step"]))

    def log_completions(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Completions as a table."""
        self.log_table("completions", rows, step)

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Rows as a table with one column per key; a row that lacks a key gets an empty cell."""
        if self.backend is None or not rows:
            return
        import wandb

        columns: list[Any] = list(dict.fromkeys(key for row in rows for key in row))
        data: list[Any] = [[row.get(column) for column in columns] for row in rows]
        # Untyped columns: a budget that could not be read is null beside integers.
        self.log({name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)}, step)

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        """Pictures by name."""
        if self.backend is None or not figures:
            return
        import wandb

        images = {name: wandb.Image(str(path)) for name, path in figures.items()}
        self.backend.log({f"{self.prefix}figures/{name}": image for name, image in images.items()})

    def log_result(self, result: Mapping[str, float]) -> None:
        """The final numbers (`result.json`), as the run's summary."""
        if self.backend is not None:
            self.backend.summary.update({self.prefix + key: value for key, value in result.items()})

    def finish(self, exit_code: int = 0) -> None:
        """End the run and wait until all of it is written or uploaded. A second call does nothing."""
        if self.backend is None:
            return
        import wandb

        self.backend.finish(exit_code=exit_code)
        wandb.teardown()  # `finish` alone may return before the offline record is on disk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(exit_code=0 if kind is None else 1)

    def _define_step_axis(self, run: "Run") -> None:
        if self.prefix in self._defined:
            return
        run.define_metric(f"{self.prefix}step", hidden=True)
        run.define_metric(f"{self.prefix}*", step_metric=f"{self.prefix}step")
        self._defined.add(self.prefix)


def _resolve_mode(spec: TrackingSettings) -> str:
    """online, offline or disabled; asks nothing and contacts nobody."""
    if spec.mode != "auto":
        return spec.mode
    if chosen := os.environ.get("WANDB_MODE"):
        require(chosen in MODES[1:], "WANDB_MODE", f"{chosen!r} is not one of {', '.join(MODES[1:])}")
        return chosen
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _open_run(spec: TrackingSettings, run_dir: Path, config: Mapping[str, Any], mode: str) -> "Run":
    import wandb
    from wandb.errors import CommError

    def init(mode: Any) -> "Run":
        return wandb.init(
            project=spec.project,
            entity=spec.entity,
            group=spec.group,
            tags=spec.tags or None,
            name=run_dir.resolve().name,
            id=_run_id(run_dir),
            resume="allow",
            mode=mode,
            dir=str(run_dir),
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )

    try:
        return init(mode)
    except CommError as error:
        if spec.mode != "auto":
            raise
        LOG.warning("W&B cannot be reached, recording offline (tracking.mode=offline saves the wait): %s", error)
        wandb.teardown()  # its service still holds the id for the run that failed to start
        return init("offline")


def _run_id(run_dir: Path) -> str:
    """The run folder's own W&B id, drawn once and kept in the folder.

    Kept rather than derived from the path: a moved folder stays the same run, a deleted and repeated one is a
    new run, and two machines with equal paths do not write into each other's.
    """
    path = run_dir / "wandb" / "run_id.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(6) + "\n")
    return path.read_text().strip()


def _announce(run: "Run") -> str:
    """Say once where the run is, since W&B itself is silenced."""
    offline = run.settings.mode == "offline"
    location = f"wandb sync {run.settings.sync_dir}" if offline else str(run.url)
    LOG.info("W&B: recording offline, to upload: %s" if offline else "W&B: %s", location)
    return location
