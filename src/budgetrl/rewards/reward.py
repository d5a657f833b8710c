"""The interface of all rewards: a frozen dataclass that maps a group of outcomes to one number per outcome.

A reward is a pure function. State that changes during training, such as the last validation accuracy, is a field
too: the reward's controller replaces the reward with a copy that has a new value in that field.
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
"""The terms of a reward by name, G numbers each: `{"verdict": [1.0, 0.0], "length": [-0.2, -0.1]}`."""


class AlgorithmTraits(Protocol):
    """How the algorithm turns rewards into advantages, as far as rewards need to know.

    Implemented by `settings.algorithm.Algorithm`.
    """

    @property
    def scaled_by_group(self) -> bool:
        """Whether the reward, or each of its parts, is divided by its std in the group. This amplifies small terms."""
        ...

    @property
    def std_floor(self) -> float:
        """The number added to that std."""
        ...

    @property
    def per_component(self) -> bool:
        """Whether each part is standardized separately, so that all parts have equal weight regardless of scale."""
        ...

    @property
    def drop_equal_groups(self) -> str:
        """Which groups are dropped: none, or those with equal values of: reward or verdict."""
        ...


@dataclass(frozen=True)
class Reward(ABC):
    """Base class of all rewards. The fields are the configuration; `reward.<field>=...` sets them."""

    name: str = ""
    """The option under conf/reward/, or the import path of your own class."""

    needs_format: ClassVar[str | None] = None
    """The response format that the reward requires, such as "budget"; None if any format works."""

    needs_b_max: ClassVar[bool] = False
    """Whether the reward reads reference lengths (b_max), which the initial model must produce before training."""

    needs_validation: ClassVar[bool] = False
    """Whether the controller uses the evaluations during training."""

    scores_single_responses: ClassVar[bool] = True
    """Whether length counts in the reward of a single response, as configured. False if it counts only relative to the
    group or to what the reward has learned in training. Evaluations during training have one response per problem, so
    they then choose the best policy by accuracy, and by length if accuracies are equal."""

    length_fields: ClassVar[tuple[str, ...]] = ()
    """The fields, other than `max_length`, that hold response lengths: a number of tokens, or a tuple of them."""

    @abstractmethod
    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return the named terms of the reward, G numbers each. The reward is their sum.

        `progress` goes from 0 (first step of training) to 1 (last step).
        """

    def checked_parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `parts` after checking them. Use `total` to add them up.

        Raises:
            RequestError: unless each part has G finite numbers. A user's own reward may get this wrong.
        """
        parts = self.parts(group, progress)
        if problem := _parts_problem(parts, group):
            text = f"parts() of {self.name or type(self).__name__} {problem}"
            raise RequestError(Message("reward.name", text))
        return parts

    def __call__(self, group: Sequence[Outcome], progress: float) -> list[float]:
        """Return the rewards of a group [G]: the sum of the checked parts."""
        return total(self.checked_parts(group, progress))

    def schedule(self, progress: float) -> dict[str, float]:
        """Return coefficients that change during training, such as alpha, for the log."""
        return {}

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """Return the reasons why training with this reward and this algorithm cannot work.

        A subclass with reasons of its own adds them to these.
        """
        problem = self.per_component_problem() if algorithm.per_component else None
        if not problem:
            return []
        text = f"with reward={self.name}, {problem}"
        return [Message("algorithm.advantage.per_component", text, "set it to false")]

    def per_component_problem(self) -> str | None:
        """Return how `per_component` can reverse an order that the reward sets; None if it cannot.

        Meant is the order of a right, a wrong, and a malformed response of the same group. `per_component` standardizes
        each part over the group before they are added, so a small part counts as much as a large one. The order is safe
        if no part is higher for a worse response than for a better one. `rewards.checks` has the usual reasons.
        """
        return None

    def warnings(self) -> list[Message]:
        """Return settings that work but are probably unintended."""
        return []

    def length_warnings(self, longest: int, key: str) -> list[Message]:
        """Return a warning for each length field that no completion can reach.

        `longest` is the maximum completion length in tokens, and `key` the config key that sets it.
        """
        names = ("max_length", *self.length_fields) if hasattr(self, "max_length") else self.length_fields
        found: list[Message] = []
        for name in names:
            if max(_numbers(getattr(self, name)), default=0) > longest:
                found.append(Message(f"reward.{name}", f"is above {key} ({longest})", "adjust it to your model"))
        return found

    def rollout_warnings(self, rollouts: int) -> list[Message]:
        """Return what will not happen in a training of this many rollouts, such as an update that comes too late."""
        return []

    def asked_budget(self, seed: int) -> int | None:
        """Draw the number of tokens that a prompt asks for. None if the reward does not ask for a length."""
        return None

    @property
    def repetition_ngram(self) -> int | None:
        """Size in tokens of the n-grams for `Outcome.repetition`; None if the reward does not read repetition."""
        return None

    def missing(self) -> list[Message]:
        """Return an error for each value that must be set before the reward can be computed.

        Stages that generate completions do not need this: they fill in `max_length` with `with_max_length`.
        """
        if not self._max_length_unset:
            return []
        text = f"reward={self.name} needs the longest length allowed"
        return [Message("reward.max_length", text, "set it to a number of tokens")]

    def with_max_length(self, max_length: int) -> Self:
        """Return the reward for completions of at most `max_length` tokens: fill in `max_length` if it is null."""
        return replace(self, max_length=max_length) if self._max_length_unset else self

    @property
    def _max_length_unset(self) -> bool:
        # Most rewards have no such field. The default of 0 keeps them apart from those that have it, but unset (None).
        return getattr(self, "max_length", 0) is None

    def controller(self) -> "Controller":
        """Return the controller that updates fields of this reward during training. The default one does nothing."""
        return Controller(self)


def total(parts: Parts) -> list[float]:
    """Return the rewards of a group [G]: the sum of the parts.

    >>> total({"verdict": [1.0, 0.0], "length": [-0.25, 0.0]})
    [0.75, 0.0]
    """
    return [sum(row) for row in zip(*parts.values(), strict=True)]


def _parts_problem(parts: Parts, group: Sequence[Outcome]) -> str | None:
    """Return what is wrong with the parts, as the end of a sentence; None if nothing is."""
    if not isinstance(parts, Mapping):
        return f"returned a {type(parts).__name__}; return a dictionary of lists, such as {{'length': [0.5, 1.0]}}"
    if not parts:
        return "returned no parts; return at least one"
    for name, values in parts.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            return f"returned a {type(values).__name__} in {name!r}; return a list with a number for each outcome"
        if len(values) != len(group):
            return f"returned {len(values)} numbers in {name!r} for a group of {len(group)}"
        for value, outcome in zip(values, group, strict=True):
            # One NaN would make every advantage of the group NaN, and then the weights.
            if not _is_finite(value):
                return f"returned {value!r} in {name!r} for {outcome}; return a finite number"
    return None


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:  # not a number
        return False


def _numbers(value: object) -> list[float]:
    """Return the numbers in a field's value: one, those of a tuple, or none for an unset length."""
    values = value if isinstance(value, tuple | list) else [value]
    return [v for v in values if isinstance(v, int | float)]


@dataclass
class Controller:
    """Holds the current reward and updates it during training. This base class never changes it.

    A subclass lists in `updated_fields` the fields of the reward that it changes; these are saved and restored. Any
    other state of its own must be added in `state_dict` and restored in `load_state_dict`.
    """

    reward: Any
    updated_fields: ClassVar[tuple[str, ...]] = ()

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        """Update the reward from the outcomes of a rollout [P][G], after they have been rewarded.

        With dynamic sampling these are only the groups that were kept.
        """

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        """Update the reward from an evaluation on held-out problems [P][n]."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, as JSON values."""
        return {name: getattr(self.reward, name) for name in self.updated_fields}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.reward = replace(self.reward, **{name: state[name] for name in self.updated_fields})
