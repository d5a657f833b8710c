"""Watch processes that only make sense together: pass signals on, and end them all when one fails."""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

INTERRUPTED, STOPPED = 130, 143
TAIL_LINES = 20
POLL_SECONDS = 0.05
_FAILURE = re.compile(rb"^(Traceback \(most recent call last\)|budgetrl: )", re.MULTILINE)
"""How a rank's log says that it ended badly: by a crash, or in a line on a wrong input or a server that is away."""


@dataclass(frozen=True)
class Child:
    """A process to start and watch."""

    label: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    shown: bool
    """Whether its output also goes to the terminal."""
    is_launcher: bool = False
    """True for a launcher: signals then go to its whole process group, and all of it must end."""


class Supervisor:
    """Watches processes that only make sense together."""

    def __init__(self, children: Sequence[Child], grace_seconds: float) -> None:
        self._children, self._grace = children, grace_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended_at: dict[int, float] = {}
        self._asked: list[int] = []
        self._forwarded = 0
        self._deadline = float("inf")
        self._logs_before = {log: log.stat().st_size for child in children for log in _logs_below(child)}

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked for an end."""
        return bool(self._asked)

    def run(self) -> int:
        """Start all, wait for all, and return the exit code of the run."""
        with self._noting_signals(), ExitStack() as stack:
            for child in self._children:
                self._processes.append(stack.enter_context(_started(child)))
                threading.Thread(target=self._note_end, args=(self._processes[-1],), daemon=True).start()
            failure = self._watch()
        if failure:
            child, code = failure
            print_message(_how_it_failed(child, code))
            if child.is_launcher and (log := _first_to_fail(self._logs_before, child)):
                print_message("\n".join([f"the end of {log}:", *_tail(log)]))
            _log_kill(child, code)
            return code if code in (1, 2) else 1
        return self._exit_code()

    def _watch(self) -> tuple[Child, int] | None:
        """Wait until all have ended, one has failed, or it is time to kill. Returns the failed one and its code."""
        while self._running():
            if failure := self._failed():
                return failure
            self._pass_signals_on()
            if time.monotonic() > self._deadline or len(self._asked) > 1:
                return None
            time.sleep(POLL_SECONDS)
        return self._failed()

    @contextmanager
    def _noting_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are noted here and passed on; a second one kills at once."""

        def hear(signum: int, frame: FrameType | None) -> None:
            self._asked.append(signum)

        before = {s: signal.signal(s, hear) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _running(self) -> bool:
        for child, process in zip(self._children, self._processes, strict=True):
            if process.poll() is None:
                return True
            if child.is_launcher and _group_alive(process.pid):
                return True
        return False

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._ended_at[process.pid] = time.monotonic()

    def _failed(self) -> tuple[Child, int] | None:
        """The child that ended badly first: when one dies, others soon fail for want of it.

        One that stopped as told gives the others time to do so too.
        """
        pairs = zip(self._children, self._processes, strict=True)
        for child, process in sorted(pairs, key=lambda pair: self._ended_at.get(pair[1].pid, math.inf)):
            code = process.poll()
            if code in (INTERRUPTED, STOPPED) or (code is not None and code < 0 and self._asked):
                self._deadline = min(self._deadline, time.monotonic() + self._grace)
            elif code:
                return child, code
        return None

    def _pass_signals_on(self) -> None:
        for signum in self._asked[self._forwarded :]:
            self._forwarded += 1
            self._deadline = min(self._deadline, time.monotonic() + self._grace)
            for child, process in zip(self._children, self._processes, strict=True):
                _signal(process.pid, signum, whole_group=child.is_launcher)

    def _exit_code(self) -> int:
        """The run's exit code where none of its processes failed; says what is not obvious."""
        codes = {process.returncode for process in self._processes}
        if codes == {0}:
            return 0
        if -signal.SIGKILL in codes:
            print_message("killed before it could save; it resumes from its last saved state")
        interrupted = signal.SIGINT in self._asked or INTERRUPTED in codes
        print_message(f"{'interrupted' if interrupted else 'stopped'}; the same command resumes it")
        return INTERRUPTED if interrupted else STOPPED


@contextmanager
def _started(child: Child) -> Iterator[subprocess.Popen[bytes]]:
    """A running child, killed at the end; in a session of its own: the terminal's Ctrl-C reaches only us."""
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with open(child.log, "ab", buffering=0) as log, ExitStack() as stack:
        out = stack.enter_context(_tee(log)) if child.shown else log.fileno()
        process = subprocess.Popen(
            child.command,
            env={**os.environ, **child.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:  # nothing of its group is left behind, such as answer-checking processes
            _signal(process.pid, signal.SIGKILL, whole_group=True)
            process.wait()


@contextmanager
def _tee(log: BinaryIO) -> Iterator[int]:
    """A file descriptor whose bytes go to our stdout and to a log: a terminal where ours is one, else a pipe."""
    source, sink = _terminal_pair() if sys.stdout.isatty() else os.pipe()
    pump = threading.Thread(target=_pump, args=(source, log), daemon=True)
    pump.start()
    try:
        yield sink
    finally:
        os.close(sink)
        pump.join()
        os.close(source)


def _terminal_pair() -> tuple[int, int]:
    """A pseudo-terminal as wide as ours that passes bytes through unchanged."""
    import fcntl
    import pty
    import termios

    source, sink = pty.openpty()
    fcntl.ioctl(sink, termios.TIOCSWINSZ, fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, b"\0" * 8))
    settings = termios.tcgetattr(sink)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(sink, termios.TCSANOW, settings)
    return source, sink


def _pump(source: int, log: BinaryIO) -> None:
    while True:
        try:
            block = os.read(source, 65536)
        except OSError:  # how a pseudo-terminal says that its other end is closed
            return
        if not block:
            return
        log.write(block)
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _signal(pid: int, signum: int, whole_group: bool) -> None:
    with suppress(ProcessLookupError):  # it may be gone already
        (os.killpg if whole_group else os.kill)(pid, signum)


def _group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _how_it_failed(child: Child, code: int) -> str:
    """The message about a child that failed. The output of one that was shown is on the terminal already."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = "; out of memory?" if code == -signal.SIGKILL else ""
    if child.shown:
        return f"{child.label} {how}{hint}; its log is {child.log}"
    return "\n".join([f"{child.label} {how}{hint}; the end of {child.log}:", *_tail(child.log)])


def _tail(log: Path) -> list[str]:
    return [f"  {line}" for line in log.read_text(errors="replace").splitlines()[-TAIL_LINES:]]


def _logs_below(launcher: Child) -> list[Path]:
    """The logs of the ranks that write their own rather than through their launcher."""
    return [log for log in launcher.log.parent.glob("rank*.log") if log != launcher.log]


def _first_to_fail(sizes_before: Mapping[Path, int], launcher: Child) -> Path | None:
    """The log of the rank that was first to say why it failed; None if no rank below did, or one was just killed.

    A log may hold earlier starts of the run, up to its size before this one. Those that fail later often do so
    for want of the first.
    """
    failed = []
    for log in _logs_below(launcher):
        written = log.read_bytes()[sizes_before.get(log, 0) :]
        if _FAILURE.search(written):
            failed.append(log)
    return min(failed, key=lambda log: log.stat().st_mtime_ns, default=None)


def _log_kill(child: Child, code: int) -> None:
    """The last line of the log of a child that could not write one itself."""
    if code < 0:
        with open(child.log, "a") as log:
            log.write(f"\nbudgetrl: {child.label} was killed by {signal.Signals(-code).name}\n")


def print_message(text: str) -> None:
    """Tell the user, after what the ranks have said."""
    sys.stdout.flush()
    sys.stderr.write(f"budgetrl: {text}\n")
    sys.stderr.flush()
