"""How a run is told to stop: SIGTERM raises a flag that stages look at between steps."""

import signal


class Stopped(Exception):
    """Raised by a stage that saw the flag and saved: the run can be resumed. Exit code 143."""


class Stop:
    """The flag. Stages poll `requested` where their state is complete, save, and raise `Stopped`."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, *_: object) -> None:
        """Raise the flag; also usable as a signal handler."""
        self.requested = True

    def listen(self) -> None:
        """Let SIGTERM raise the flag (main thread only)."""
        signal.signal(signal.SIGTERM, self.request)
