"""The worker processes: deadlines, deaths, threads, and nothing left behind. With a scripted checker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from budgetrl.grading.verifier import TIMED_OUT, UNREADABLE, Verdict, Verifier

RIGHT = Verdict(correct=True, parsed=True, timed_out=False)
WRONG = Verdict(correct=False, parsed=True, timed_out=False)

# A real worker with a checker that does what the gold answer says, and logs that it was asked.
SCRIPTED = """
import os, signal, sys, time
from budgetrl.grading import worker

time.sleep(float(os.environ.get("SLOW_START", "0")))
worker.ORPHAN_GRACE = float(os.environ.get("GRACE", "600"))

def check(gold, target):
    with open(os.environ["LOG"], "a") as log:
        log.write(gold[7:-1] + "\\n")
    if "hang" in gold:
        time.sleep(600)
    if "nap" in gold:
        time.sleep(0.05)
    if "die" in gold:
        os.kill(os.getpid(), signal.SIGKILL)
    return "unparsed" not in gold, "right" in gold, target

worker.load_check = lambda: check
worker.main()
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the scripted worker in place; returns the file with the gold answers it was asked about."""
    (tmp_path / "scripted_worker.py").write_text(SCRIPTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("budgetrl.grading.verifier.WORKER_MODULE", "scripted_worker")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def pairs(*golds: str) -> list[tuple[str, str]]:
    return [(gold, rf"\boxed{{x_{i}}}") for i, gold in enumerate(golds)]


def is_running(pid: int) -> bool:
    """Whether a process does anything; a zombie (its parent here is gone or has not asked) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.usefixtures("log")
def test_order_is_kept_though_workers_hang_and_die() -> None:
    golds = ["right", "nap right", "hang", "wrong", "die", "unparsed", "nap wrong", "right", "die", "right"]
    verdicts = {"hang": TIMED_OUT, "die": UNREADABLE, "unparsed": UNREADABLE}
    expected = [verdicts.get(gold, RIGHT if "right" in gold else WRONG) for gold in golds]
    with Verifier(workers=3, deadline=2.0) as verifier:
        assert verifier.grade(pairs(*golds)) == expected
        assert verifier.grade(pairs("right", "wrong")) == [RIGHT, WRONG]


def test_one_worker_survives_a_row_of_bad_answers(log: Path) -> None:
    with Verifier(workers=1, deadline=2.0) as verifier:
        verdicts = verifier.grade(pairs("die", "hang", "right"))
    assert verdicts == [UNREADABLE, TIMED_OUT, RIGHT]
    # An answer that a process died over gets a second chance, after all others.
    assert log.read_text().split() == ["die", "hang", "right", "die"]


def test_workers_share_the_work(log: Path) -> None:
    with Verifier(workers=2, deadline=30) as verifier:
        assert verifier.grade(pairs(*["nap right"] * 40)) == [RIGHT] * 40
        assert len(verifier._workers) == 2
    assert log.read_text().count("nap right") == 40


@pytest.mark.usefixtures("log")
def test_starting_up_does_not_count_against_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW_START", "3")
    with Verifier(deadline=2.0) as verifier:
        assert verifier.grade(pairs("right")) == [RIGHT]


def test_equal_questions_are_asked_once(log: Path) -> None:
    with Verifier() as verifier:
        asked = [("right", r"\boxed{x}")] * 5 + [("wrong", r"\boxed{x}")]
        assert verifier.grade(asked) == [RIGHT] * 5 + [WRONG]
    assert log.read_text().split() == ["right", "wrong"]


def test_plain_answers_need_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("budgetrl.grading.verifier.WORKER_MODULE", "there.is.no.such.module")
    texts = [r"\boxed{72}", r"\boxed{73}", "", "  ", r"\boxed{}", r"\boxed{" + "9" * 5000 + "}"]
    with Verifier() as verifier:
        assert verifier.grade([("72", text) for text in texts]) == [RIGHT, WRONG, *[UNREADABLE] * 4]
        assert verifier.grade([]) == []
        assert verifier.can_parse(["72", "-1", r"1,\!000", ""]) == [True, True, True, False]


def test_workers_that_cannot_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("budgetrl.grading.verifier.WORKER_MODULE", "there.is.no.such.module")
    with Verifier(workers=2) as verifier:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="did not start"):
                verifier.grade(pairs("right"))


@pytest.mark.usefixtures("log")
def test_a_worker_killed_before_it_is_ready_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW_START", "0.5")
    with Verifier() as verifier:
        killer = threading.Thread(
            target=lambda: (
                wait_until(lambda: bool(verifier._workers)),
                os.kill(verifier._workers[0].process.pid, signal.SIGKILL),
            )
        )
        killer.start()
        assert verifier.grade(pairs("right")) == [RIGHT]
        killer.join()


def test_a_worker_that_never_gets_ready_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW_START", "600")
    monkeypatch.setattr("budgetrl.grading.verifier.START_DEADLINE", 0.2)
    with Verifier() as verifier, pytest.raises(RuntimeError, match="did not start"):
        verifier.grade(pairs("right"))
    assert not log.exists()


@pytest.mark.usefixtures("log")
def test_a_worker_killed_between_two_calls_is_replaced() -> None:
    with Verifier(workers=2) as verifier:
        verifier.grade(pairs("nap right", "nap right"))
        for worker in verifier._workers:
            os.kill(worker.process.pid, signal.SIGKILL)
        assert verifier.grade(pairs("right", "wrong", "right")) == [RIGHT, WRONG, RIGHT]


@pytest.mark.usefixtures("log")
def test_threads_may_share_a_verifier() -> None:
    results: dict[int, list[Verdict]] = {}
    with Verifier(workers=2) as verifier:

        def grade(number: int) -> None:
            golds = [f"nap {'right' if (number + i) % 2 else 'wrong'}" for i in range(6)]
            results[number] = verifier.grade(pairs(*golds))

        threads = [threading.Thread(target=grade, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: [RIGHT if (n + i) % 2 else WRONG for i in range(6)] for n in range(4)}


@pytest.mark.usefixtures("log")
def test_an_interrupted_call_leaves_no_answer_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Verifier) -> dict[int, Verdict]:
        raise KeyboardInterrupt

    with Verifier() as verifier:
        verifier.grade(pairs("right"))
        with monkeypatch.context() as patch:
            patch.setattr(Verifier, "_wait_for_event", interrupt)
            with pytest.raises(KeyboardInterrupt):
                verifier.grade(pairs("nap right"))
        assert verifier.grade(pairs("wrong")) == [WRONG]


@pytest.mark.usefixtures("log")
def test_closing_stops_the_processes_and_grading_starts_new_ones() -> None:
    with Verifier(workers=2) as verifier:
        verifier.grade(pairs("right", "right"))
        pids = [worker.process.pid for worker in verifier._workers]
        verifier.close()
        assert not any(map(is_running, pids))
        assert verifier.grade(pairs("right")) == [RIGHT]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_their_parent(log: Path, signum: int) -> None:
    with Verifier() as verifier:
        verifier.grade(pairs("right"))
        (worker,) = verifier._workers
        worker.process.send_signal(signum)
        assert verifier.grade(pairs("right and again")) == [RIGHT]
        assert verifier._workers == [worker]


# Grades from a program run as a module, without a `__main__` guard, then is killed: idle or in mid-answer.
DOOMED = """
import os, signal, sys, threading, time
from budgetrl.grading import verifier as module
module.WORKER_MODULE = "scripted_worker"
verifier = module.Verifier(deadline=2.0)
assert verifier.grade([("right", "x")])[0].correct
print(verifier._workers[0].process.pid, flush=True)
if sys.argv[1] == "hang":
    threading.Thread(target=verifier.grade, args=([("hang", "x")],)).start()
    while "hang" not in open(os.environ["LOG"]).read():
        time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("state", ["idle", "hang"])
def test_workers_die_with_their_parent(state: str, log: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRACE", "0")
    (log.parent / "doomed.py").write_text(DOOMED)
    path = os.pathsep.join([str(log.parent), str(repo / "src")])
    parent = subprocess.run(
        [sys.executable, "-m", "doomed", state],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert parent.returncode == -signal.SIGKILL
    pid = int(parent.stdout)
    wait_until(lambda: not is_running(pid))


@pytest.mark.parametrize(("workers", "deadline", "key"), [(0, 1.0, "workers"), (1, 0.0, "deadline")])
def test_senseless_settings_are_refused(workers: int, deadline: float, key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}:"):
        Verifier(workers, deadline)
