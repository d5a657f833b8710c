"""Evaluations by a real server, `transformers serve` with the mini model, end as those by the native engine."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from transformers.utils.import_utils import is_serve_available

from many_runs import Start, finish_all, prepare, read_rows, start_all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_serve_available(), reason="needs transformers[serving], which the extra dev has"),
]

EVALUATE = [
    *("stage=evaluate", "stage.format=budget", "stage.temperature=0", "stage.budgets=[20,80]"),
    *("dataset.eval_size=7", "stage.budget_problems=3"),
]
SERVER = ["rollout=openai", "rollout.prompts=text", "rollout.concurrency=1"]  # rows are saved every four completions
START_SECONDS = 120.0


@contextmanager
def serving(port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`transformers serve` on loopback, ready to answer; it loads whatever model a request names."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(home)}
    with (home / "server.log").open("ab") as log:
        options = ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
        process = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, (home / "server.log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + START_SECONDS
    while not holds():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation without a server."""
    root = tmp_path_factory.mktemp("native")
    folder = prepare(root / "run", *EVALUATE)
    finish_all([Start(str(folder))], root)
    return folder


def same_outcome(one: Path, other: Path) -> None:
    """To the byte: every completion, every number."""
    for name in ("completions.jsonl", "result.json"):
        assert (one / name).read_text() == (other / name).read_text(), name


def test_a_server_writes_what_the_native_engine_writes(native: Path, tmp_path: Path) -> None:
    """Greedily, that is; with budgets of the model's own, and with two that are pre-filled."""
    port = free_port()
    with serving(port, tmp_path):
        folder = prepare(tmp_path / "run", *EVALUATE, *SERVER, f"rollout.url=http://127.0.0.1:{port}/v1")
        finish_all([Start(str(folder))], tmp_path)
    same_outcome(folder, native)
    assert {row["prefilled"] for row in read_rows(folder / "completions.jsonl")} == {None, 20, 80}
    assert json.loads((folder / "result.json").read_text())["mini/accuracy"] > 0.5


def test_a_run_whose_server_is_killed_goes_on_with_the_next(native: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"rollout.url=http://127.0.0.1:{port}/v1"
    folder = prepare(tmp_path / "run", *EVALUATE, *SERVER, url, "rollout.retries=0")
    written = folder / "partial" / "mini, own budgets.jsonl"
    codes: list[list[int]] = []
    run = threading.Thread(target=lambda: codes.extend(start_all([Start(str(folder))], tmp_path)))
    with serving(port, tmp_path) as server:
        run.start()
        wait_until(lambda: written.exists() and written.read_text())
        server.send_signal(signal.SIGKILL)
        run.join()
    assert codes == [[1]]
    said = (folder / "logs" / "rank.0").read_text()
    assert "budgetrl: rollout.url: no answer from" in said
    assert "Traceback" not in said
    before = read_rows(written)
    assert 0 < len(before) < 7
    assert not (folder / "result.json").exists()
    with serving(port, tmp_path):
        finish_all([Start(str(folder))], tmp_path)
    assert read_rows(folder / "completions.jsonl")[: len(before)] == before
    same_outcome(folder, native)
