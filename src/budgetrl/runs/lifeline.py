"""Makes child processes exit when their parent exits for any reason, SIGKILL included: all of them watch its pipe."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIFELINE = "BUDGETRL_LIFELINE"
"""Environment variable with the path of the pipe. The parent keeps the pipe open; children exit when it closes."""


@contextmanager
def open_pipe() -> Iterator[Path]:
    """Yield the path of a named pipe that stays open for as long as this process runs.

    A named pipe is found by its path, so it also reaches ranks that a launcher starts as grandchildren.
    """
    with tempfile.TemporaryDirectory(prefix="budgetrl-") as folder:
        path = Path(folder) / "lifeline"
        os.mkfifo(path)
        # Open both ends: opening only one blocks until another process opens the other.
        descriptor = os.open(path, os.O_RDWR)
        try:
            yield path
        finally:
            os.close(descriptor)


def die_with_parent() -> None:
    """Kill this process and its process group when the parent exits. Does nothing if no parent set LIFELINE.

    Exits with code 143 at once if the parent is already gone and has removed its pipe.
    """
    path = os.environ.get(LIFELINE)
    if path is None:
        return
    try:
        # Without O_NONBLOCK, opening would block forever if the parent was killed and left its pipe behind.
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        os._exit(143)
    os.set_blocking(pipe, True)
    threading.Thread(target=_kill_group_at_end, args=(pipe,), daemon=True).start()


def _kill_group_at_end(pipe: int) -> None:
    # Nobody writes to the pipe: the read returns only when no process has it open for writing any more.
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
