"""Tests of tracking: W&B's offline record contains exactly what was logged."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import wandb

import wandb_record
from budgetrl.runs.tracking import Tracker, TrackingSettings, _resolve_mode

OFFLINE = TrackingSettings(mode="offline", group="curve")
CONFIG = {"seed": 3, "reward": {"name": "budget_gauss", "r_b": -0.4}, "tags": ["a"], "none": None}
ROWS = [{"step": 1, "loss": 0.125, "eval/mini/accuracy": 0.9}, {"step": 2, "loss": -1e-9, "time/step": 1.5}]
COMPLETIONS = [
    {"problem_id": "p1", "text": "x" * 40_000, "budget": 12, "prefilled": None, "correct": True},
    {"problem_id": "p2", "text": "y", "budget": None, "prefilled": 24, "correct": False, "b_max": 7},
]


@dataclass(frozen=True)
class Recorded:
    """The records of a run of two processes. The second continues the first and fails."""

    first: list[Any]
    second: list[Any]
    files: Path
    """The first record's files."""
    figure: Path
    messages: list[str]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    sweep = tmp_path_factory.mktemp("sweep")
    run_dir = sweep / "run"
    run_dir.mkdir()
    figure = _write_figure(sweep / "curves.png")
    messages: list[str] = []
    with _listening(messages):
        _first_process(run_dir, figure)
        _second_process(run_dir)
    paths = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    first, second = (list(wandb_record.read_records(path)) for path in paths)
    return Recorded(first, second, paths[0].parent / "files", figure, messages)


def _first_process(run_dir: Path, figure: Path) -> None:
    with Tracker.start(OFFLINE, run_dir, CONFIG) as tracker:
        for row in ROWS:
            tracker.at("grpo").log(row, row["step"])
        tracker.at("cold_start").log({"loss": math.inf}, 1)
        tracker.at("grpo").log_completions(COMPLETIONS, 2)
        tracker.log_figures({"curves": figure})
        tracker.log_result({"mini/accuracy": 0.96})


def _second_process(run_dir: Path) -> None:
    try:
        with Tracker.start(OFFLINE, run_dir, CONFIG) as tracker:
            tracker.at("grpo").replay(ROWS)
            tracker.at("grpo").log({"loss": 0.25}, 2)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return


class _listening(logging.Handler):  # noqa: N801
    """Collects the log messages of the package."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.INFO)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("budgetrl").addHandler(self)
        logging.getLogger("budgetrl").setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("budgetrl").removeHandler(self)


def _write_figure(path: Path) -> Path:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.imsave(path, [[0.0, 1.0]])
    return path


def test_rows_config_and_result_are_those_logged(recorded: Recorded) -> None:
    rows = wandb_record.history(recorded.first)
    assert rows[:2] == [{f"grpo/{key}": value for key, value in row.items()} for row in ROWS]
    assert rows[2] == {"cold_start/step": 1, "cold_start/loss": math.inf}
    assert wandb_record.config(recorded.first) == CONFIG
    assert wandb_record.summary(recorded.first)["mini/accuracy"] == 0.96


def test_each_stage_is_drawn_over_its_own_steps(recorded: Recorded) -> None:
    axes = wandb_record.step_axes(recorded.first)
    assert axes == {"grpo/*": "grpo/step", "cold_start/*": "cold_start/step"}


def test_completions_are_a_table_and_figures_are_pictures(recorded: Recorded) -> None:
    _, _, _, table_row, figure_row = wandb_record.history(recorded.first)
    table = json.loads((recorded.files / table_row["grpo/completions"]["path"]).read_text())
    rows = [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]
    assert table_row["grpo/step"] == 2
    assert rows == [{**row, "b_max": row.get("b_max")} for row in COMPLETIONS]
    picture = recorded.files / figure_row["figures/curves"]["path"]
    assert picture.read_bytes() == recorded.figure.read_bytes()


def test_a_resumed_run_continues_and_takes_a_step_twice(recorded: Recorded) -> None:
    replayed = wandb_record.history(recorded.first)[:2]
    assert wandb_record.history(recorded.second) == [*replayed, {"grpo/step": 2, "grpo/loss": 0.25}]
    first, second = (wandb_record.only(records, "run") for records in (recorded.first, recorded.second))
    assert first.run_id == second.run_id
    assert {first.run_group, second.run_group} == {"curve"}


def test_a_run_left_by_an_exception_is_marked_failed(recorded: Recorded) -> None:
    assert wandb_record.only(recorded.first, "exit").exit_code == 0
    assert wandb_record.only(recorded.second, "exit").exit_code == 1


def test_each_process_says_once_how_to_upload(recorded: Recorded) -> None:
    assert ["wandb sync" in message for message in recorded.messages] == [True, True]


@pytest.mark.parametrize(
    ("settings", "rank"), [(TrackingSettings(name="none"), 0), (TrackingSettings(mode="disabled"), 0), (OFFLINE, 1)]
)
def test_without_a_backend_nothing_happens(settings: TrackingSettings, rank: int, tmp_path: Path) -> None:
    with Tracker.start(settings, tmp_path, CONFIG, rank) as tracker:
        tracker.at("grpo").log({"loss": 1.0}, 1)
        tracker.replay(ROWS)
        tracker.log_completions(COMPLETIONS, 1)
        tracker.log_figures({"absent": tmp_path / "absent.png"})
        tracker.log_result({"mini/accuracy": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(ValueError, match="WANDB_MODE: 'of'"):
        _resolve_mode(TrackingSettings())


def test_auto_is_online_with_a_login_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # it read WANDB_MODE when an earlier test started it
    assert _resolve_mode(TrackingSettings()) == "offline"
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'a' * 40}\n")
    assert _resolve_mode(TrackingSettings()) == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert _resolve_mode(TrackingSettings()) == "disabled"
    assert _resolve_mode(OFFLINE) == "offline"


@pytest.mark.parametrize("field", [{"name": "tensorboard"}, {"mode": "on"}, {"project": ""}])
def test_bad_values_name_their_key(field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(field))}: "):
        TrackingSettings(**field)  # pyright: ignore[reportArgumentType]
