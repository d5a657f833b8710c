"""Errors whose message is all a user needs to see."""


class RequestError(ValueError):
    """The request or its input is wrong: one line names the key, file or row, and what to do. Exit code 2."""
