"""Supervises the processes of a run: forwards signals to all of them, and stops all if one fails."""

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
"""Exit codes after Ctrl-C and SIGTERM: 128 plus the number of the signal, as shells have it."""
TAIL_LINES = 20
"""Number of lines shown from the log of a failed rank."""
POLL_SECONDS = 0.05
LOG_REFERENCE = "; its log is "
"""Part of the message about a failed process that points to the log. The scheduler of runs skips such lines."""
_FAILURE = re.compile(rb"^(Traceback \(most recent call last\)|budgetrl: )", re.MULTILINE)
"""Marks a failure in a rank's log: a traceback, or the message of a RequestError or Unavailable."""


@dataclass(frozen=True)
class Child:
    """A process to start and supervise."""

    label: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    shown: bool
    """Whether its output also goes to the terminal."""
    is_launcher: bool = False
    """Whether the process starts ranks itself. Signals then go to its process group, and the whole group must exit."""


class Supervisor:
    """Starts the processes of one run, and supervises them until all have exited."""

    def __init__(self, children: Sequence[Child], grace_seconds: float) -> None:
        self._children, self._grace = children, grace_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._exit_times: dict[int, float] = {}  # by process id
        self._signals: list[int] = []  # received so far
        self._forwarded = 0  # how many of them the processes have received
        self._deadline = float("inf")  # when to kill processes that have not exited
        # Logs are appended to: their sizes at the start tell this start's lines from those of earlier ones.
        self._log_sizes: dict[Path, int] = {}
        for child in children:
            for log in _logs_of_launched_ranks(child):
                self._log_sizes[log] = log.stat().st_size

    @property
    def stop_requested(self) -> bool:
        """Whether this process received Ctrl-C or SIGTERM."""
        return bool(self._signals)

    def run(self) -> int:
        """Start all processes, wait for them, and return the exit code of the run.

        Prints what happened if a process failed or the run was stopped.
        """
        # Leaving the ExitStack kills what still runs.
        with self._recording_signals(), ExitStack() as stack:
            for child in self._children:
                process = stack.enter_context(_started(child))
                self._processes.append(process)
                threading.Thread(target=self._record_exit, args=(process,), daemon=True).start()
            failure = self._wait()
        if failure:
            child, code = failure
            print_message(_failure_message(child, code))
            if child.is_launcher and (log := _log_of_first_failure(self._log_sizes, child)):
                print_message("\n".join([f"the end of {log}:", *_tail(log)]))
            _log_kill(child, code)
            # Exit codes 1 (failure) and 2 (wrong request) are ours; anything else, such as a kill, becomes 1.
            return code if code in (1, 2) else 1
        return self._exit_code()

    def _wait(self) -> tuple[Child, int] | None:
        """Wait until all have exited, one has failed, or it is time to kill. Return the failed one and its code."""
        while self._running():
            if failure := self._failed():
                return failure
            self._forward_signals()
            # A second Ctrl-C or SIGTERM means that the user does not want to wait.
            if time.monotonic() > self._deadline or len(self._signals) > 1:
                return None
            time.sleep(POLL_SECONDS)
        return self._failed()

    @contextmanager
    def _recording_signals(self) -> Iterator[None]:
        """Record SIGINT (Ctrl-C) and SIGTERM instead of acting on them. `_wait` forwards them."""

        def record(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)

        old_handlers = {signum: signal.signal(signum, record) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in old_handlers.items():
                signal.signal(signum, handler)

    def _running(self) -> bool:
        """Return whether any process still runs, including ranks whose launcher has exited."""
        for child, process in zip(self._children, self._processes, strict=True):
            if process.poll() is None:
                return True
            if child.is_launcher and _group_alive(process.pid):
                return True
        return False

    def _record_exit(self, process: subprocess.Popen[bytes]) -> None:
        # Runs in a thread per process: polling alone could not tell which of two processes exited first.
        process.wait()
        self._exit_times[process.pid] = time.monotonic()

    def _failed(self) -> tuple[Child, int] | None:
        """Return the process that failed first and its exit code, or None."""
        # In order of exit: when one rank dies, the others soon fail because they can no longer reach it.
        pairs = list(zip(self._children, self._processes, strict=True))
        pairs.sort(key=lambda pair: self._exit_times.get(pair[1].pid, math.inf))
        for child, process in pairs:
            code = process.poll()
            # Not a failure: the process stopped because of a signal. A negative code is one that it did not handle,
            # for example because it was still starting.
            if code in (INTERRUPTED, STOPPED) or (code is not None and code < 0 and self._signals):
                self._limit_waiting()
            elif code:
                return child, code
        return None

    def _limit_waiting(self) -> None:
        """Give the processes the grace time to exit, from the first call on."""
        self._deadline = min(self._deadline, time.monotonic() + self._grace)

    def _forward_signals(self) -> None:
        for signum in self._signals[self._forwarded :]:
            self._forwarded += 1
            self._limit_waiting()
            for child, process in zip(self._children, self._processes, strict=True):
                _signal(process.pid, signum, whole_group=child.is_launcher)

    def _exit_code(self) -> int:
        """Return the exit code of a run in which no process failed. Prints why the run is not finished, if so."""
        codes = {process.returncode for process in self._processes}
        if codes == {0}:
            return 0
        if -signal.SIGKILL in codes:
            print_message("killed before it could save; it will resume from its last saved state")
        interrupted = signal.SIGINT in self._signals or INTERRUPTED in codes
        print_message(f"{'interrupted' if interrupted else 'stopped'}; the same command resumes it")
        return INTERRUPTED if interrupted else STOPPED


@contextmanager
def _started(child: Child) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, and kill it and its process group on exit from the context."""
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with open(child.log, "ab", buffering=0) as log, ExitStack() as stack:
        out = stack.enter_context(_tee(log)) if child.shown else log.fileno()
        process = subprocess.Popen(
            child.command,
            env={**os.environ, **child.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal then reaches only this process, which forwards it once.
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # The whole group: a rank may have processes of its own, such as those that check answers.
            _signal(process.pid, signal.SIGKILL, whole_group=True)
            process.wait()


@contextmanager
def _tee(log: BinaryIO) -> Iterator[int]:
    """Yield a file descriptor whose bytes are copied to our stdout and to a log."""
    # If our stdout is a terminal, give the process one too: it then shows progress bars and colors.
    source, sink = _terminal_pair() if sys.stdout.isatty() else os.pipe()
    copier = threading.Thread(target=_copy, args=(source, log), daemon=True)
    copier.start()
    try:
        yield sink
    finally:
        os.close(sink)  # the copier ends once all writers have closed their end
        copier.join()
        os.close(source)


def _terminal_pair() -> tuple[int, int]:
    """Return the two ends of a pseudo-terminal with the size of ours: one to read from, one for the process."""
    import fcntl
    import pty
    import termios

    source, sink = pty.openpty()
    fcntl.ioctl(sink, termios.TIOCSWINSZ, fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, b"\0" * 8))
    # Turn off output processing, which would turn each \n into \r\n in the log.
    settings = termios.tcgetattr(sink)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(sink, termios.TCSANOW, settings)
    return source, sink


def _copy(source: int, log: BinaryIO) -> None:
    """Copy bytes from a file descriptor to a log and to our stdout until its other end is closed."""
    while True:
        try:
            block = os.read(source, 65536)
        except OSError:  # a pseudo-terminal whose other end is closed
            return
        if not block:  # a pipe whose other end is closed
            return
        log.write(block)
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _signal(pid: int, signum: int, whole_group: bool) -> None:
    with suppress(ProcessLookupError):  # it may have exited already
        (os.killpg if whole_group else os.kill)(pid, signum)


def _group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _failure_message(child: Child, code: int) -> str:
    """Return the message about a failed process, with the end of its log unless its output was shown already."""
    text = f"{child.label} exited with code {code}"
    if code < 0:
        text = f"{child.label} was killed by {signal.Signals(-code).name}"
    if code == -signal.SIGKILL:  # by Linux, if memory runs out
        text += "; out of memory?"
    if child.shown:
        return f"{text}{LOG_REFERENCE}{child.log}"
    return "\n".join([f"{text}; the end of {child.log}:", *_tail(child.log)])


def _tail(log: Path) -> list[str]:
    return [f"  {line}" for line in log.read_text(errors="replace").splitlines()[-TAIL_LINES:]]


def _logs_of_launched_ranks(launcher: Child) -> list[Path]:
    """Return the logs that ranks write themselves. Rank 0 has none: its output is in the launcher's log."""
    return [log for log in launcher.log.parent.glob("rank*.log") if log != launcher.log]


def _log_of_first_failure(old_sizes: Mapping[Path, int], launcher: Child) -> Path | None:
    """Return the log of the rank that was the first to log a failure. None if no log has one.

    `old_sizes` are the sizes of the logs before this start; what they held then is ignored.
    """
    failed: list[Path] = []
    for log in _logs_of_launched_ranks(launcher):
        new_bytes = log.read_bytes()[old_sizes.get(log, 0) :]
        if _FAILURE.search(new_bytes):
            failed.append(log)
    # The oldest one: the other ranks usually fail because they can no longer reach the first.
    return min(failed, key=lambda log: log.stat().st_mtime_ns, default=None)


def _log_kill(child: Child, code: int) -> None:
    """Append a line to the log of a process that was killed, and so could not log its end itself."""
    if code < 0:
        with open(child.log, "a") as log:
            log.write(f"\nbudgetrl: {child.label} was killed by {signal.Signals(-code).name}\n")


def print_message(text: str) -> None:
    """Print a message to stderr, as `budgetrl: <text>`."""
    sys.stdout.flush()  # the output of the ranks comes first
    sys.stderr.write(f"budgetrl: {text}\n")
    sys.stderr.flush()
