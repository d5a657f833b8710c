"""A message to the user about a key: one value instead of a sentence that others would have to take apart."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Message:
    """What is wrong with a key, or unusual about it, and what to do.

    >>> str(Message("lr", "0 would train nothing", "give more").below("stage.optimizer"))
    'stage.optimizer.lr: 0 would train nothing; give more'
    """

    key: str
    """The dotted key; empty for a message about the whole."""
    text: str
    hint: str = ""
    """What to do about it; empty where the text says so, or nothing can be done."""

    def __str__(self) -> str:
        told = f"{self.key}: {self.text}" if self.key else self.text
        return f"{told}; {self.hint}" if self.hint else told

    def below(self, group: str) -> "Message":
        """The same message about a key inside a group."""
        if not group:
            return self
        return replace(self, key=f"{group}.{self.key}" if self.key else group)
