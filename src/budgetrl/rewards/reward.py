"""What every reward is: a frozen dataclass whose call maps a group of outcomes to one number each.

A reward is pure. What it has to remember from step to step, such as the accuracy of the last validation, is
a field of it too, and its controller replaces the reward by one with another value there.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome

Parts = dict[str, list[float]]


class AlgorithmTraits(Protocol):
    """What a reward may ask about how its rewards become advantages: `settings.algorithm.Algorithm` answers."""

    @property
    def scaled_by_group(self) -> bool:
        """Whether the reward, or each of its parts, is divided by its std in the group: small terms grow."""
        ...

    @property
    def std_floor(self) -> float:
        """Added to that std."""
        ...

    @property
    def per_component(self) -> bool:
        """Whether that is each part: all parts then weigh the same, however small they are."""
        ...

    @property
    def drop_equal_groups(self) -> str:
        """none, or by what groups are dropped in which it is the same: reward or verdict."""
        ...


@dataclass(frozen=True)
class Reward(ABC):
    """A reward. Its fields are its configuration; `reward.<field>=...` sets them."""

    name: str = ""
    """The option under conf/reward/, or the import path of a class of your own."""

    needs_format: ClassVar[str | None] = None
    """The response format the reward reads ("budget"), or None if any will do."""

    needs_b_max: ClassVar[bool] = False
    """Whether the reward reads reference lengths, which then have to be asked of the initial model."""

    needs_validation: ClassVar[bool] = False
    """Whether the controller learns from evaluations during training."""

    length_fields: ClassVar[tuple[str, ...]] = ()
    """Its fields, besides `max_length`, that are lengths of completions: a number of tokens, or several."""

    @abstractmethod
    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """The named parts of the reward, G numbers each, that sum to the reward.

        `progress` runs from 0 (first step) to 1 (last step) of training.
        """

    def checked_parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """The parts of a group's rewards; `total` sums them.

        RequestError if these are not G finite numbers each, as those of a reward of the user's own may be.
        """
        parts = self.parts(group, progress)
        if fault := _fault(parts, group):
            raise RequestError(f"reward.name: parts() of {self.name or type(self).__name__} {fault}")
        return parts

    def __call__(self, group: Sequence[Outcome], progress: float) -> list[float]:
        """The G rewards of a group: the sum of its parts, which are checked."""
        return total(self.checked_parts(group, progress))

    def schedule(self, progress: float) -> dict[str, float]:
        """Coefficients that move during training, for the log (such as alpha)."""
        return {}

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """What cannot be learned from this reward that way."""
        return []

    def warnings(self) -> list[Message]:
        """What works but looks unintended."""
        return []

    def length_warnings(self, longest: int, key: str) -> list[Message]:
        """A message for each of its lengths that no completion reaches: `longest` tokens are allowed, as `key` says."""
        names = ("max_length", *self.length_fields) if hasattr(self, "max_length") else self.length_fields
        return [
            Message(f"reward.{name}", f"is above {key} ({longest})", "fit it to your model")
            for name in names
            if max(_numbers(getattr(self, name)), default=0) > longest
        ]

    def asked_budget(self, seed: int) -> int | None:
        """The number of tokens to ask for in a prompt, drawn with a seed; None where the prompt asks for none."""
        return None

    @property
    def repetition_ngram(self) -> int | None:
        """Size of the n-grams whose repetition the reward reads (`Outcome.repetition`), in tokens; None: not read."""
        return None

    def missing(self) -> list[Message]:
        """What has to be given before anything is rewarded.

        Stages that write completions give it themselves (`within`).
        """
        if not self._lacks_length:
            return []
        text = f"reward={self.name} reads the longest length allowed"
        return [Message("reward.max_length", text, "give it, in tokens")]

    def with_max_length(self, max_length: int) -> Self:
        """This reward for completions of at most `max_length` tokens: fills a `max_length` that was left null."""
        return replace(self, max_length=max_length) if self._lacks_length else self

    @property
    def _lacks_length(self) -> bool:
        return getattr(self, "max_length", 0) is None

    def controller(self) -> "Controller":
        """What moves this reward's fields during training; of most rewards, nothing."""
        return Controller(self)


def total(parts: Parts) -> list[float]:
    """The G rewards that the parts sum to.

    >>> total({"verdict": [1.0, 0.0], "length": [-0.25, 0.0]})
    [0.75, 0.0]
    """
    return [sum(row) for row in zip(*parts.values(), strict=True)]


def _fault(parts: Parts, group: Sequence[Outcome]) -> str | None:
    if not parts:
        return "gave none"
    for name, values in parts.items():
        if len(values) != len(group):
            return f"gave {len(values)} numbers in {name!r} for a group of {len(group)}"
        for value, outcome in zip(values, group, strict=True):
            if not math.isfinite(value):
                return f"gave {value} in {name!r} for {outcome}"
    return None


def _numbers(value: object) -> list[float]:
    """A number, or those of a tuple; none of anything else."""
    return [v for v in (value if isinstance(value, tuple | list) else [value]) if isinstance(v, int | float)]


@dataclass
class Controller:
    """Holds the reward as it stands, and replaces it as training goes on. This one leaves it as it is.

    A subclass moves the fields of the reward that it lists in `moves`; these are saved and resumed.
    What else it remembers it adds to `state_dict` and takes back in `load_state_dict`.
    """

    reward: Any
    moves: ClassVar[tuple[str, ...]] = ()

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        """Learn from the outcomes [P][G] of a rollout, after they were rewarded.

        With dynamic sampling these are the groups that were kept, not those that were dropped.
        """

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        """Learn from an evaluation on held-out problems [P][n]."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as plain values."""
        return {name: getattr(self.reward, name) for name in self.moves}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.reward = replace(self.reward, **{name: state[name] for name in self.moves})
