"""HAPO's reward: how long an answer is beside the right answers the policy gave to that problem before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Controller, Parts, Reward


@dataclass(frozen=True)
class Hapo(Reward):
    """The verdict, and a cosine of the length relative to the problem's history (arXiv 2505.11225; published code:
    HCY123902/HAPO, utils.py and grpo_trainer.py).

        R = 1[right] + weight r
        r = max(f, floor) if right, min(f, 0) if wrong,   f = cos(pi/2 min(L / h, 2))

    where h is the shortest (`memory=min`) or the mean (`memory=mean`) length of the right answers that the policy
    has given to this problem so far; r is 0 while there are none. The history takes in a rollout's right answers
    after they were rewarded.

    Paper: all of this with weight 1 and floor -0.7. Not offered here: the published code's penalty for repeated
    n-grams (by default rep_ngram_size=3 and rep_penalty=0.0, which is off), and its linear f (`--type_lr linear`).
    Published with TRL's GRPO, over 5 epochs of 2000 problems.
    A truncated answer is wrong, and leaves no trace in the history.

    Limits: needs several epochs; in the first all is verdict, as on held-out problems, which have no history. With
    `memory=min` one lucky short answer sets the bar for good.

    >>> reward = Hapo(history={"p": 1000})
    >>> short, level, long = (Outcome(True, True, length, problem_id="p") for length in (500, 1000, 2500))
    >>> wrong = Outcome(True, False, 1500, problem_id="p")
    >>> [round(reward, 6) for reward in reward([short, level, long, wrong], progress=0)]
    [1.707107, 1.0, 0.3, -0.707107]
    """

    name: str = "hapo"
    weight: float = 1.0
    """Weight of the length term."""
    floor: float = -0.7
    """Least length term of a right answer, from -1 to 0."""
    memory: str = "min"
    """What is remembered of a problem's right lengths: min or mean."""
    history: dict[str, float] = field(default_factory=dict)
    """h in tokens by problem id, moved by training."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_range(self, 0, math.inf, "weight")
        require_range(self, -1, 0, "floor")
        require_option(self, ("min", "mean"), "memory")
        for problem_id, length in self.history.items():
            require(0 < length < math.inf, "history", f"{length} of problem {problem_id!r} is no length of 1 or more")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "length": [self.weight * self._closeness(outcome) for outcome in group],
        }

    def controller(self) -> "HapoController":
        return HapoController(self)

    def _closeness(self, outcome: Outcome) -> float:
        past = self.history.get(outcome.problem_id)
        if past is None:
            return 0.0
        f = math.cos(math.pi / 2 * min(outcome.length / past, 2.0))
        return max(f, self.floor) if is_right(outcome) else min(f, 0.0)


@dataclass
class HapoController(Controller):
    """Keeps each problem's shortest or mean right length."""

    reward: Hapo
    counts: dict[str, int] = field(default_factory=dict)
    """Right answers behind each mean; one that the configuration gave counts as one answer."""

    moves = ("history",)

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        history = dict(self.reward.history)
        for outcome in (outcome for group in groups for outcome in group if is_right(outcome)):
            key, length = outcome.problem_id, float(max(1, outcome.length))  # h divides
            past, count = history.get(key, length), self.counts.get(key, int(key in history))
            self.counts[key] = count + 1
            history[key] = min(past, length) if self.reward.memory == "min" else past + (length - past) / (count + 1)
        self.reward = replace(self.reward, history=history)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.counts = dict(state["counts"])
