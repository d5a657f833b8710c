"""What runs in a verify process: math-verify in a loop over a pipe, nothing else of budgetrl.

Started by `verifier.py` as `python -m budgetrl.grading.worker <pipe fd> <deadline>`. math-verify's own
timeouts are off: they are signals that work in a main thread only and cannot stop native code.
The parent keeps the deadline instead, by killing this process.
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
"""Gold answer and response -> whether an answer could be read, whether it is right, and its text."""

MEMORY_LIMIT = 4 << 30
"""Bytes of address space; an answer such as a huge factorial fails here, not on the whole machine."""
ORPHAN_GRACE = 10.0
"""Seconds past the deadline after which the process ends itself: its parent can no longer do so."""
PARENT_POLL = 5.0
"""Seconds between two looks at whether the parent lives, while there is nothing to do."""


def load_check() -> Check:
    """math-verify as a check. The import takes half a second."""
    from math_verify import parse, verify

    def check(gold: str, target: str) -> tuple[bool, bool, str | None]:
        given = parse(target, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        expected = parse(gold, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        # A text that math-verify finds but cannot read as a value comes back as a string alone.
        parsed = any(not isinstance(value, str) for value in given)
        found = next((value for value in reversed(given) if isinstance(value, str)), None)
        return parsed, bool(verify(expected, given, timeout_seconds=None)), found

    return check


def serve(connection: Connection, check: Check, deadline: float) -> None:
    """Answer (gold, target) pairs until the pipe closes or the parent is gone."""
    parent = os.getppid()
    connection.send(READY)
    while os.getppid() == parent:
        if not connection.poll(PARENT_POLL):
            continue
        try:
            gold, target = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, deadline + ORPHAN_GRACE)
        verdict = check(gold, target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(verdict)


def main() -> None:
    """Read the command line and serve."""
    descriptor, deadline = int(sys.argv[1]), float(sys.argv[2])
    for signum in (signal.SIGINT, signal.SIGTERM):  # they may reach the whole group; the parent ends its workers
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)  # math-verify warns at every call that its timeouts are off
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    serve(Connection(descriptor), load_check(), deadline)


if __name__ == "__main__":
    main()
