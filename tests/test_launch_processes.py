"""The supervisor forwards signals to all ranks and stops all if one fails. The ranks here are small scripts."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from budgetrl.launch import launchers, start, supervisor
from budgetrl.launch.supervisor import Child, Supervisor
from budgetrl.runs import lifeline
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import load_config

READY = "import signal, sys, time; "
NAP = "print('ready', flush=True); time.sleep(60)"
SAVES = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); "
INTERRUPTIBLE = "signal.signal(signal.SIGINT, lambda *_: sys.exit(130)); "

Ranks = Callable[..., list[Child]]


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    """Return a function that makes a child process per script; the output of the first is shown."""

    def make(*scripts: str) -> list[Child]:
        return [
            Child(f"rank {r}", [sys.executable, "-c", READY + script], {}, tmp_path / f"rank{r}.log", shown=r == 0)
            for r, script in enumerate(scripts)
        ]

    return make


def when_ready(children: list[Child], *signals: int) -> threading.Thread:
    """Send signals to this process once all children have printed that they are ready."""

    def wait_and_send() -> None:
        while not all(child.log.exists() and "ready" in child.log.read_text() for child in children):
            time.sleep(0.02)
        for signum in signals:
            os.kill(os.getpid(), signum)
            time.sleep(0.3)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


def test_all_done_is_0_and_rank_0_is_shown_and_kept(ranks: Ranks, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    children = ranks("print('\\rstep 1\\rstep 2')", "print('other')")
    assert Supervisor(children, 5).run() == 0
    assert capfdbinary.readouterr().out == b"\rstep 1\rstep 2\n"
    assert children[0].log.read_bytes() == b"\rstep 1\rstep 2\n"
    assert children[1].log.read_text() == "other\n"


@pytest.mark.parametrize(
    ("script", "code", "how"),
    [
        ("sys.exit('no more numbers')", 1, "exited with code 1"),
        ("print('no more numbers'); sys.exit(2)", 2, "exited with code 2"),
        ("print('no more numbers', flush=True); signal.raise_signal(9)", 1, "was killed by SIGKILL; out of memory?"),
    ],
)
def test_a_dead_rank_ends_the_run_at_once(
    ranks: Ranks, capfd: pytest.CaptureFixture[str], script: str, code: int, how: str
) -> None:
    started = time.monotonic()
    assert Supervisor(ranks(DEAF + NAP, script), 50).run() == code
    assert time.monotonic() - started < 30
    assert re.search(rf"rank 1 {re.escape(how)}; the end of .*rank1\.log:\n  no more numbers", capfd.readouterr().err)


def test_the_rank_that_failed_first_is_reported(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 2.0)  # both are dead at the second look
    first = tmp_path / "first"
    wait = f"import os.path\nwhile not os.path.exists({str(first)!r}): time.sleep(0.01)\ntime.sleep(0.3)\nsys.exit(1)"
    Supervisor(ranks(wait, f"open({str(first)!r}, 'w').close(); sys.exit(1)"), 5).run()
    assert capfd.readouterr().err.startswith("budgetrl: rank 1 exited with code 1")


def test_only_the_end_of_a_long_log_is_shown(ranks: Ranks, capfd: pytest.CaptureFixture[str]) -> None:
    Supervisor(ranks("pass", "print(*range(100), sep='\\n'); sys.exit(1)"), 5).run()
    assert capfd.readouterr().err.splitlines()[1:] == [f"  {i}" for i in range(80, 100)]


def test_the_first_failure_among_ranks_of_a_launcher_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rank1.log").write_text("Traceback (most recent call last):\nof an earlier start\n")
    in_order = [
        (1, "step 7\n"),
        (3, "step 7\nTraceback (most recent call last):\nout of numbers\n"),
        (2, "Traceback (most recent call last):\nlost a peer\n"),
    ]
    write = [f"open({str(tmp_path / f'rank{r}.log')!r}, 'a').write({text!r})" for r, text in in_order]
    script = f"import sys, time; {'; time.sleep(0.05); '.join(write)}; sys.exit(1)"
    log = tmp_path / "rank0.log"
    launcher = Child("deepspeed", [sys.executable, "-c", script], {}, log, shown=True, is_launcher=True)
    assert Supervisor([launcher], 5).run() == 1
    said = capfd.readouterr().err.splitlines()
    assert said[0] == f"budgetrl: deepspeed exited with code 1; its log is {log}"
    assert said[1] == f"budgetrl: the end of {tmp_path / 'rank3.log'}:"
    assert said[2:] == ["  step 7", "  Traceback (most recent call last):", "  out of numbers"]


@pytest.mark.parametrize(
    ("signum", "script", "code"),
    [
        (signal.SIGTERM, SAVES, 143),
        (signal.SIGTERM, "", 143),  # before the rank listens, the signal kills it
        (signal.SIGINT, INTERRUPTIBLE, 130),
    ],
)
def test_signals_reach_every_rank(ranks: Ranks, signum: int, script: str, code: int) -> None:
    children = ranks(script + NAP, script + NAP)
    sender = when_ready(children, signum)
    assert Supervisor(children, 50).run() == code
    sender.join()


@pytest.mark.parametrize("code", [0, 1, 143])
def test_launch_raises_if_a_stop_was_requested(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whatever the exit code of the run itself."""
    children = ranks(f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({code})); {NAP}")
    monkeypatch.setattr(launchers, "local_ranks", lambda *_: children)
    config = load_config({"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "accuracy"}})
    sender = when_ready(children, signal.SIGTERM)
    with pytest.raises(SystemExit, match=str(code)):
        start.launch(config, RunFolder(tmp_path))
    sender.join()


def test_a_rank_that_saves_slowly_is_waited_for(ranks: Ranks, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    slowly = f"open({str(saved)!r}, 'w').close()"
    slow = f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.7), {slowly}, sys.exit(143))); "
    children = ranks(SAVES + NAP, slow + NAP)
    sender = when_ready(children, signal.SIGTERM)
    assert Supervisor(children, 50).run() == 143
    sender.join()
    assert saved.exists()


def test_ranks_that_do_not_stop_are_killed_after_the_grace_time(
    ranks: Ranks, capfd: pytest.CaptureFixture[str]
) -> None:
    children = ranks(DEAF + NAP, SAVES + NAP)
    sender = when_ready(children, signal.SIGTERM)
    assert Supervisor(children, 0.5).run() == 143
    sender.join()
    assert "killed before it could save" in capfd.readouterr().err


def test_a_second_signal_does_not_wait(ranks: Ranks) -> None:
    children = ranks(DEAF + NAP)
    sender = when_ready(children, signal.SIGINT, signal.SIGINT)
    assert Supervisor(children, 500).run() == 130
    sender.join()


def test_a_rank_that_others_stopped_ends_the_run_with_143(ranks: Ranks) -> None:
    assert Supervisor(ranks(SAVES + "time.sleep(0.3); sys.exit(143)", "sys.exit(143)"), 50).run() == 143


def test_the_handlers_of_before_are_back_afterwards(ranks: Ranks) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    Supervisor(ranks("pass"), 5).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_a_rank_started_ends_with_it(ranks: Ranks, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    spawn = "import subprocess; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    Supervisor(ranks("pass", f"{spawn}open({str(started)!r}, 'w').write(str(p.pid))"), 5).run()
    assert gone(int(started.read_text()))


PARENT = """
import sys
from pathlib import Path
from budgetrl.launch.supervisor import Child, Supervisor
from budgetrl.runs import lifeline
code = "import time; from budgetrl.runs import lifeline; lifeline.die_with_parent()"
code += "; print('ready', flush=True); time.sleep(60)"
with lifeline.open_pipe() as line:
    logs = [Path(sys.argv[1]) / f"rank{r}.log" for r in range(2)]
    rank = [sys.executable, "-c", code], {lifeline.LIFELINE: str(line)}
    Supervisor([Child("", *rank, log, False) for log in logs], 5).run()
"""


def test_ranks_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    logs = [tmp_path / f"rank{r}.log" for r in range(2)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    while not all(log.exists() and "ready" in log.read_text() for log in logs):
        assert parent.poll() is None
        time.sleep(0.05)
    pids = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(parent.pid)]).split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    assert all(map(gone, pids))


def gone(pid: int, within: float = 20) -> bool:
    """Return whether a process exits in time. Zombies count as exited."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if " Z " in re.sub(r"\(.*\)", "", Path(f"/proc/{pid}/stat").read_text()):
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_lifeline_that_is_gone_ends_a_rank_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lifeline.LIFELINE, "/nowhere/lifeline")
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit, match="143"):
        lifeline.die_with_parent()
