"""Tests of shared parts: runs with equal content use one folder, and only one run works on it at a time."""

import fcntl
import threading
from pathlib import Path

import pytest

from alone import context
from budgetrl.runs import shared
from budgetrl.runs.shared import shared_part
from budgetrl.runs.stop import Stopped
from many_runs import Start, finish_all, prepare, read_rows

TINY = [
    *("stage=pipeline", "dataset.size=14", "dataset.eval_size=7", "stage.steps=2", "stage.prompts_per_step=2"),
    *("stage.group_size=4", "stage.eval_every=0", "stage.grpo.eval_problems=7", "stage.evaluate.budgets=[]"),
    *("stage.cold_start.steps=2", "stage.cold_start.check_problems=7", "stage.label.samples=1"),
]


def lock_of(root: Path, name: str) -> Path:
    return next(root.glob(f"{name}-*")) / ".lock"


def test_a_part_has_one_folder_for_all_runs_that_agree(tmp_path: Path) -> None:
    root = tmp_path / "common"
    for run, content in {"a": (1, "x"), "b": (1, "x"), "c": (2, "x")}.items():
        with shared_part(root, "label", content, context(tmp_path / run)) as inner:
            inner.folder.append_metrics({"step": 1, "run": run})
            inner.folder.close()
    assert [row["run"] for row in read_rows(tmp_path / "a" / "label" / "metrics.jsonl")] == ["a", "b"]
    assert [row["run"] for row in read_rows(tmp_path / "c" / "label" / "metrics.jsonl")] == ["c"]
    assert len(list(root.iterdir())) == 2


def test_a_part_that_the_run_has_of_its_own_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "a" / "label").mkdir(parents=True)
    with shared_part(tmp_path / "common", "label", 1, context(tmp_path / "a")) as inner:
        assert inner.folder.path == tmp_path / "a" / "label"
    assert not (tmp_path / "common").exists()


def test_only_one_run_makes_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "POLL", 0.01)
    events = []

    def second() -> None:
        with shared_part(tmp_path / "common", "label", 1, context(tmp_path / "b")):
            events.append("second begins")

    thread = threading.Thread(target=second)
    with shared_part(tmp_path / "common", "label", 1, context(tmp_path / "a")):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        events.append("first ends")
    thread.join()
    assert events == ["first ends", "second begins"]


def test_a_run_that_waits_can_be_stopped(tmp_path: Path) -> None:
    with shared_part(tmp_path / "common", "label", 1, context(tmp_path / "a")):
        waiting = context(tmp_path / "b")
        waiting.stop.request()
        with pytest.raises(Stopped), shared_part(tmp_path / "common", "label", 1, waiting):
            pytest.fail("two runs make the same part")
    with open(lock_of(tmp_path / "common", "label")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.slow
def test_pipelines_share_what_does_not_depend_on_the_reward(tmp_path: Path) -> None:
    common = [*TINY, f"stage.shared={tmp_path}/common"]
    runs = {
        "first": [*common, "reward.r_b=-0.4"],
        "second": [*common, "reward.r_b=-0.2"],
        "alone": [*TINY, "reward.r_b=-0.2"],
        "other_seed": [*common, "seed=1"],
        "untaught": [*common, "reward=kimi"],
        "two_ranks": [*common, "reward.r_b=-0.1", "launch.ranks=2"],
    }
    starts = [
        Start(str(prepare(tmp_path / name, *own)), ranks=2 if name == "two_ranks" else 1) for name, own in runs.items()
    ]
    finish_all(starts, tmp_path)
    made = sorted(path.name.partition("-")[0] for path in (tmp_path / "common").iterdir())
    assert made == ["cold_start", "cold_start", "initial", "initial", "label", "label"]
    results = {name: (tmp_path / name / "result.json").read_text() for name in runs}
    assert results["second"] == results["alone"]
    assert results["first"] != results["other_seed"]
    same = [(tmp_path / name / "cold_start").resolve() for name in ("first", "second", "two_ranks")]
    assert len(set(same)) == 1
