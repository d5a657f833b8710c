"""Errors whose message is all a user needs to see."""

from budgetrl.core.messages import Message


class RequestError(ValueError):
    """The request or its input is wrong: one line names the key, file or row, and what to do. Exit code 2."""

    def __init__(self, *messages: Message | str) -> None:
        super().__init__("\n".join(map(str, messages)))
        self.messages = messages


class Unavailable(RuntimeError):
    """Something that the run needs is away, such as a server: the same command goes on once it is back. Exit code 1."""


class SettingError(ValueError):
    """A part refuses one of its own settings; whoever builds the part adds the group that the key is in."""

    def __init__(self, key: str, text: str, hint: str = "") -> None:
        self.message = Message(key, text, hint)
        super().__init__(str(self.message))
