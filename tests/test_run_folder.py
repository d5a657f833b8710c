"""Tests of the run folder: it stays readable after a crash during any write."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.errors import RequestError
from budgetrl.runs.folder import RunFolder, read_rows, write_atomically

ROWS = [{"step": 1, "loss": 0.5}, {"step": 2, "text": "ä\n\u2028 b"}, {"step": 3, "none": None}]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_row_can_be_read_as_soon_as_it_is_written(folder: RunFolder) -> None:
    for count, row in enumerate(ROWS, start=1):
        folder.append_metrics(row)
        assert read_rows(folder.metrics) == ROWS[:count]


@given(cut=st.integers(0, 200))
def test_a_crash_in_the_middle_of_a_line_loses_that_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    for row in ROWS:
        folder.append_metrics(row)
    folder.close()
    written = folder.metrics.read_bytes()
    folder.metrics.write_bytes(written[:cut])
    whole = written[:cut].count(b"\n")
    assert read_rows(folder.metrics)[:whole] == ROWS[:whole]
    folder.append_metrics({"step": 9})
    assert read_rows(folder.metrics) == [*ROWS[:whole], {"step": 9}]


def test_a_broken_line_inside_is_named(folder: RunFolder) -> None:
    folder.create()
    folder.metrics.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(RequestError, match=r"metrics\.jsonl, line 2: not JSON"):
        read_rows(folder.metrics)


def test_rows_after_the_checkpoint_are_dropped(folder: RunFolder) -> None:
    for row in ROWS:
        folder.append_metrics(row)
        folder.append_completions([row, row])
    folder.append_completions([{"sample": 0}])
    folder.truncate_after(2)
    assert read_rows(folder.metrics) == ROWS[:2]
    assert read_rows(folder.completions) == [ROWS[0]] * 2 + [ROWS[1]] * 2 + [{"sample": 0}]
    folder.append_metrics(ROWS[2])
    assert read_rows(folder.metrics) == ROWS


def test_a_folder_that_does_not_write_leaves_no_trace(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", writes=False)
    folder.create()
    folder.append_metrics({"step": 1})
    folder.append_completions([{"step": 1}])
    folder.truncate_after(0)
    assert folder.is_unchanged("train", [])
    folder.write_result({"a": 1.0})
    folder.child("grpo").append_metrics({"step": 1})
    assert list(tmp_path.iterdir()) == []


def test_finished_means_that_the_result_is_written(folder: RunFolder) -> None:
    assert not folder.finished
    folder.write_result({"mini/accuracy": 0.5, "mini/length": float("inf")})
    assert folder.finished
    assert folder.read_result() == {"mini/accuracy": 0.5, "mini/length": None}


def test_json_is_strict(folder: RunFolder) -> None:
    folder.append_metrics({"step": 1, "kl": float("nan"), "deep": [{"x": float("-inf")}]})
    (line,) = folder.metrics.read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "kl": None, "deep": [{"x": None}]}


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_a_child_lies_inside(folder: RunFolder) -> None:
    child = folder.child("grpo")
    assert child.path == folder.path / "grpo"
    assert child.path.is_dir()


def test_data_that_changed_since_the_run_first_used_it_are_noticed(folder: RunFolder) -> None:
    assert folder.is_unchanged("train", ["1+1"])
    assert folder.is_unchanged("eval", ["2+2"])
    again = RunFolder(folder.path)
    assert again.is_unchanged("train", ["1+1"])
    assert not again.is_unchanged("train", ["1+2"])
    assert not again.child("grpo").is_unchanged("eval", ["2+2", "3+3"])
    assert again.is_unchanged("train", ["1+1"])  # what the run began with is what counts


def test_a_run_is_started_once_at_a_time(folder: RunFolder) -> None:
    with folder.lock(), pytest.raises(RequestError, match="another process"), RunFolder(folder.path).lock():
        pass
    with RunFolder(folder.path).lock():
        pass
