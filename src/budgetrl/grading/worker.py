"""The program of a verifier process: it answers requests from a pipe with math-verify.

Started by `verifier.py` as `python -m budgetrl.grading.worker <pipe fd> <deadline>`. math-verify's own timeouts are
disabled: they use signals, which work only in a main thread and cannot interrupt native code. Instead, the parent
enforces the deadline by killing this process.
"""

import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

READY = "ready"
Check = Callable[[str, str], tuple[bool, bool, str | None]]
"""(gold answer, response) -> (whether an answer was parsed, whether it is correct, its text)."""

MEMORY_LIMIT = 4 << 30
"""Maximum bytes of address space, so that an answer such as a huge factorial cannot exhaust the machine."""
ORPHAN_GRACE = 10.0
"""Seconds after the deadline at which the process ends itself, in case its parent died and cannot kill it."""
PARENT_POLL = 5.0
"""Seconds between checks that the parent is still alive, while idle."""


def load_check() -> Check:
    """Return a check that uses math-verify."""
    # Imported here, so that tests can replace the check without loading math-verify (half a second).
    from math_verify import parse, verify

    def check(gold: str, target: str) -> tuple[bool, bool, str | None]:
        given = parse(target, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        expected = parse(gold, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        # `parse` returns the values that it found and their text. If it cannot parse a text, there is only the text.
        parsed, text = False, None
        for item in given:
            if isinstance(item, str):
                text = item
            else:
                parsed = True
        return parsed, bool(verify(expected, given, timeout_seconds=None)), text

    return check


def serve(connection: Connection, check: Check, deadline: float) -> None:
    """Answer (gold, target) pairs until the pipe closes or the parent dies."""
    parent = os.getppid()  # changes when the parent dies
    connection.send(READY)
    while os.getppid() == parent:
        if not connection.poll(PARENT_POLL):
            continue
        try:
            gold, target = connection.recv()
        except EOFError:
            return
        # SIGALRM kills the process at the latest here, even if its parent is gone.
        signal.setitimer(signal.ITIMER_REAL, deadline + ORPHAN_GRACE)
        verdict = check(gold, target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(verdict)


def main() -> None:
    """Entry point: read the command line and serve."""
    descriptor, deadline = int(sys.argv[1]), float(sys.argv[2])
    # Ctrl-C and Slurm signal the whole process group. The parent decides when its workers end.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default action: terminate
    logging.disable(logging.CRITICAL)  # math-verify warns on every call that its timeouts are off
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    serve(Connection(descriptor), load_check(), deadline)


if __name__ == "__main__":
    main()
