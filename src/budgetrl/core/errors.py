"""Errors that are shown to the user as a message, without a traceback."""

from budgetrl.core.messages import Message


class RequestError(ValueError):
    """The configuration or an input file is wrong. The message names the key, file or row. Exit code 2."""

    def __init__(self, *messages: Message | str) -> None:
        super().__init__("\n".join(map(str, messages)))
        self.messages = messages


class Unavailable(RuntimeError):
    """Something that the run needs, such as a server, is not available. The same command resumes later. Exit code 1."""


class SettingError(ValueError):
    """A setting has an invalid value. The key is relative: whoever builds the object adds the group above it."""

    def __init__(self, key: str, text: str, hint: str = "") -> None:
        self.message = Message(key, text, hint)
        super().__init__(str(self.message))
