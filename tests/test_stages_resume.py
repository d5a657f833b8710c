"""Runs that are killed, or told to stop, and started again end as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from budgetrl.runs.folder import write_lines
from many_runs import End, Start, log_of, prepare, read_rows, start_all, without_times

pytestmark = pytest.mark.slow

ROW = "budgetrl.runs.folder:RunFolder.append_metrics"
ROWS = "budgetrl.runs.folder:RunFolder.append"
RESULT = "budgetrl.runs.folder:RunFolder.write_result"
ENGINE_SAVED = "budgetrl.training.engine:ZeroEngine.save_state"
REMOVED = "shutil:rmtree"
POLICY_SAVED = "budgetrl.training.checkpoints:Checkpoints.save_policy"
STATE_SAVED = "budgetrl.training.checkpoints:Checkpoints.save_state"

DATA = ["dataset.size=14", "dataset.eval_size=7"]
IN_PARTS = "rollout.batch_size=3"  # results are saved every four batches
GRPO = [
    *("stage=grpo", *DATA, "stage.steps=6", "stage.prompts_per_step=3", "stage.group_size=4", "stage.save_every=2"),
    *("stage.eval_every=3", "stage.eval_problems=7", "stage.log_every=1", "stage.optimizer.lr=1e-3"),
]
DAPO = [
    "algorithm=dapo",
    "algorithm.optimizer_steps_per_rollout=2",
    "algorithm.groups.max_rollouts=3",
    "reward=accuracy",
    "stage.format=budget",
]
TWO_BUDGETS = [
    *("reward=accuracy", "stage.format=plain", "decoding=two_budgets"),
    *("decoding.thinking=40", "decoding.answer=8"),
]
SEVERAL = ["algorithm.optimizer_steps_per_rollout=2", "algorithm.kl.coefficient=0.1"]
COLD_START = [
    *("stage=cold_start", *DATA, IN_PARTS, "stage.steps=6", "stage.save_every=2", "stage.tokens_per_step=512"),
    "stage.check_problems=7",
]
PIPELINE = [
    *("stage=pipeline", *DATA, IN_PARTS, "stage.steps=3", "stage.label.samples=1"),
    *("stage.prompts_per_step=3", "stage.group_size=4", "stage.eval_every=0", "stage.grpo.save_every=1"),
    *("stage.cold_start.steps=3", "stage.cold_start.save_every=2", "stage.cold_start.check_problems=7"),
    *("stage.grpo.eval_problems=7", "stage.evaluate.budgets=[14]", "stage.evaluate.budget_problems=7"),
]

KILLS: dict[str, tuple[list[str], list[End]]] = {
    "grpo": (
        GRPO,
        [
            End(ROW, 1),  # trained, nothing saved
            End(ROW, 2),  # just before the save at step 2
            End(ENGINE_SAVED, 1),  # half of the first state is written
            End(STATE_SAVED, 1),  # just after the save
            End(ROW, 1),  # one step further
            End(POLICY_SAVED, 1, before=True),  # evaluating
            End(REMOVED, 2),  # the old `best` is gone, the new one not yet in place
            End(REMOVED, 3, before=True),  # the state of step 4 is there, that of step 2 still
            End(ROW, 2),  # all steps done, the last one not saved
            End(POLICY_SAVED, 1, before=True),
            End(POLICY_SAVED, 1),
            End(RESULT, 1, before=True),  # nothing but the result is missing
        ],
    ),
    "several": ([*GRPO, *SEVERAL], [End(ROW, 3), End(ROW, 2), End(STATE_SAVED, 1)]),
    "dapo": ([*GRPO, *DAPO], [End(ROW, 3)]),  # the second batch is filled again, from the same prompts
    "two_budgets": ([*GRPO, *TWO_BUDGETS], [End(ROW, 3)]),
    "cold_start": (
        COLD_START,
        [
            End(ROWS, 1),  # some problems are sampled
            End(ROW, 1),
            End(STATE_SAVED, 1),
            End(ROW, 1),
            End(POLICY_SAVED, 1),  # the model is there, not yet examined
        ],
    ),
    "pipeline": (
        PIPELINE,
        [
            End(RESULT, 1, before=True),  # the cold start is done but for its result
            End(ROWS, 2),  # amid the labels, or the last steps of the cold start
            End(STATE_SAVED, 2),
            End(STATE_SAVED, 1),
            End(RESULT, 2, before=True),
            End("budgetrl.runs.folder:RunFolder.rewrite", 1, before=True),  # evaluated, not yet put together
        ],
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of KILLS twice: `<name>/calm`, and `<name>/killed`, which was killed and resumed many times."""
    root = tmp_path_factory.mktemp("resume")
    rows = [{"problem_id": f"mini-train-{i}", "b_max": 10 * i or None} for i in range(14)]
    write_lines(root / "labels.jsonl", rows)
    starts: list[Start] = []
    expected: list[int] = []
    for name, (overrides, ends) in KILLS.items():
        for kind, moments in (("calm", []), ("killed", ends)):
            folder = prepare(root / name / kind, *overrides, *labels_for(name, root))
            starts += [Start(str(folder), end=end) for end in (*moments, None)]
            expected += [-signal.SIGKILL] * len(moments) + [0]
    for start, (code,), due in zip(starts, start_all(starts, root), expected, strict=True):
        assert code == due, f"{start}: {log_of(start.folder)}"
    return root


def labels_for(name: str, root: Path) -> list[str]:
    """GRPO by itself is given reference lengths, to be quick."""
    return [f"stage.labels={root / 'labels.jsonl'}"] if name in ("grpo", "several") else []


def check_equal(calm: Path, other: Path) -> None:
    """Everything a run leaves is the same, but for times."""
    for path in sorted(calm.rglob("*")):
        twin = other / path.relative_to(calm)
        if path.name == "metrics.jsonl":
            assert without_times(read_rows(twin)) == without_times(read_rows(path)), path
        elif path.name in ("completions.jsonl", "result.json") or path.suffix == ".safetensors":
            assert twin.read_bytes() == path.read_bytes(), path
        elif path.name in ("labels.jsonl", "samples.jsonl"):
            assert read_rows(twin) == read_rows(path), path
    assert files(other) == files(calm)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "logs" not in path.parts)


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_run_ends_like_an_uninterrupted_one(root: Path, name: str) -> None:
    check_equal(root / name / "calm", root / name / "killed")


def test_the_runs_did_something(root: Path) -> None:
    for name in KILLS:
        folder = root / name / "calm" / ("grpo" if name == "pipeline" else "")
        rows = read_rows(folder / "metrics.jsonl")
        assert [row["step"] for row in rows] == list(range(1, (3 if name == "pipeline" else 6) + 1))
        # Plain accuracy gives groups without a difference, from which nothing is learned.
        assert name in ("pipeline", "two_budgets") or all(row["grad_norm"] > 0 for row in rows)


def test_told_to_stop_and_killed_from_outside(root: Path) -> None:
    """The parent gets the signals here, as from a terminal or a scheduler, at a moment of no one's choosing."""
    calm, folder = root / "grpo" / "calm", prepare(root / "grpo" / "outside", *GRPO, *labels_for("grpo", root))
    rows = folder / "metrics.jsonl"

    parent = start_parent(folder)
    wait_for(lambda: count_lines(rows) >= 1, parent)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(120) == 143
    saved = [path.name for path in (folder / "checkpoints").glob("state-*")]
    assert saved == [f"state-{count_lines(rows)}"]

    done = count_lines(rows)
    parent = start_parent(folder)
    wait_for(lambda: count_lines(rows) >= done + 1, parent)
    ranks = psutil.Process(parent.pid).children()
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(60)
    gone, alive = psutil.wait_procs(ranks, timeout=60)
    assert gone and not alive
    assert not (folder / "result.json").exists()
    with rows.open("a") as file:
        file.write('{"step": 7, "lo')

    assert start_all([Start(str(folder))], folder.parent) == [[0]]
    check_equal(calm, folder)


def start_parent(folder: Path) -> subprocess.Popen[bytes]:
    """`launch.sh`, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with open(folder.parent / "parent.log", "ab") as log:
        return subprocess.Popen(
            [folder / "launch.sh"], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not happened():
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.01)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
