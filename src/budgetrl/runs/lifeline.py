"""How processes end with the one that started them, however that ends: they all hold on to a pipe of its."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIFELINE = "BUDGETRL_LIFELINE"
"""Environment variable with the path of the pipe, which the parent holds open: children die when it closes."""


@contextmanager
def open_pipe() -> Iterator[Path]:
    """A named pipe, open as long as this process lives: found by path, it also reaches ranks below a launcher."""
    with tempfile.TemporaryDirectory(prefix="budgetrl-") as folder:
        path = Path(folder) / "lifeline"
        os.mkfifo(path)
        held = os.open(path, os.O_RDWR)  # both ends, since opening one would wait for the other
        try:
            yield path
        finally:
            os.close(held)


def die_with_parent() -> None:
    """Die, with this process group, when the parent does. The pipe ends once nobody holds it open for writing."""
    path = os.environ.get(LIFELINE)
    if path is None:
        return
    try:
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # would otherwise wait for a parent that is gone
    except FileNotFoundError:
        os._exit(143)
    os.set_blocking(pipe, True)
    threading.Thread(target=_die_with, args=(pipe,), daemon=True).start()


def _die_with(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
