"""Stop requests: SIGTERM sets a flag that stages check between steps."""

import signal


class Stopped(Exception):
    """Raised by a stage that saw the stop flag and saved its state: the run can be resumed. Exit code 143."""


class Stop:
    """The stop flag. Stages check `requested` at points where they can save, then raise `Stopped`."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, *_: object) -> None:
        """Set the flag. The ignored arguments make this usable as a signal handler."""
        self.requested = True

    def listen(self) -> None:
        """Make SIGTERM set the flag. Call it in the main thread: Python allows signal handlers only there."""
        signal.signal(signal.SIGTERM, self.request)
