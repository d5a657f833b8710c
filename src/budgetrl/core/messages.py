"""A message to the user about a key. It is a value, so that no code has to take a sentence apart."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Message:
    """What is wrong or unusual about a key, and what to do about it.

    >>> str(Message("lr", "must be greater than 0", "set it to 1e-6, for example").below("stage.optimizer"))
    'stage.optimizer.lr: must be greater than 0; set it to 1e-6, for example'
    """

    key: str
    """The dotted configuration key, or a file and line. Empty for a message about the whole configuration."""
    text: str
    hint: str = ""
    """What to do about it. Empty if the text already says so, or if nothing can be done."""

    def __str__(self) -> str:
        message = f"{self.key}: {self.text}" if self.key else self.text
        return f"{message}; {self.hint}" if self.hint else message

    def below(self, group: str) -> "Message":
        """Return the same message with the key moved into a group."""
        if not group:
            return self
        return replace(self, key=f"{group}.{self.key}" if self.key else group)
