"""Errors whose message is all a user needs to see."""


class RequestError(ValueError):
    """The request or its input is wrong: one line names the key, file or row, and what to do. Exit code 2."""


class Unavailable(RuntimeError):
    """Something that the run needs is away, such as a server: the same command goes on once it is back. Exit code 1."""
