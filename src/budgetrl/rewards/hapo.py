"""HAPO: compare an answer's length with earlier right answers of the policy to the same problem."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite
from budgetrl.rewards.group import is_right, verdicts
from budgetrl.rewards.reward import Controller, Parts, Reward


@dataclass(frozen=True)
class Hapo(Reward):
    """Reward right answers that are shorter than the policy's earlier right answers to the problem (HAPO).

    Formula:
        R = 1[right] + weight * r
        r = max(f, floor)  if right
            min(f, 0)      if wrong
        f = cos(pi/2 * min(L / h, 2))

    Symbols:
        L: length of the response, in tokens.
        h: shortest (`memory=min`) or mean (`memory=mean`) length of the policy's right answers to this problem so
            far. While there are none, r = 0.

    A rollout's right answers enter the history after they have been rewarded. A truncated answer is wrong and does
    not enter it.

    Source: arXiv 2505.11225. Code: HCY123902/HAPO, utils.py and grpo_trainer.py. All of the formula is the paper's,
    with weight 1 and floor -0.7. Not included here: the code's penalty for repeated n-grams (rep_ngram_size=3 and
    rep_penalty=0.0 by default, so it is off) and its linear f (`--type_lr linear`).
    Training: TRL's GRPO, 5 epochs of 2000 problems.

    Limits: needs several epochs. In the first epoch, and on held-out problems, there is no history, so only the
    verdict counts. With `memory=min`, a single lucky short answer sets the target permanently.

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
    """Smallest r of a right answer, from -1 to 0."""
    memory: str = "min"
    """How h is computed from the lengths of a problem's right answers: min or mean."""
    history: dict[str, float] = field(default_factory=dict)
    """h by problem id, in tokens. Updated by training."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require_range(self, 0, math.inf, "weight")
        require_range(self, -1, 0, "floor")
        require_option(self, ("min", "mean"), "memory")
        for problem_id, length in self.history.items():
            require(0 < length < math.inf, "history", f"{length} for problem {problem_id!r} is not a positive length")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.weight else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        return {
            "verdict": verdicts(group),
            "length": [self.weight * self._closeness(outcome) for outcome in group],
        }

    def controller(self) -> "HapoController":
        return HapoController(self)

    def _closeness(self, outcome: Outcome) -> float:
        past = self.history.get(outcome.problem_id)
        if past is None:
            return 0.0
        # f is 1 at length 0, 0 at the past length, and -1 at twice that; min keeps the cosine from rising again.
        f = math.cos(math.pi / 2 * min(outcome.length / past, 2.0))
        if is_right(outcome):
            return max(f, self.floor)  # with weight 1 and the published floor, R is at least 0.3
        return min(f, 0.0)  # a short wrong answer earns no bonus


@dataclass
class HapoController(Controller):
    """Stores the shortest or mean length of the right answers to each problem."""

    reward: Hapo
    counts: dict[str, int] = field(default_factory=dict)
    """Number of right answers behind each mean. A length from the configuration counts as one answer."""

    updated_fields = ("history",)

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        history = dict(self.reward.history)  # a copy: the reward is immutable
        for group in groups:
            for outcome in group:
                if is_right(outcome):
                    self._add(history, outcome)
        self.reward = replace(self.reward, history=history)

    def _add(self, history: dict[str, float], outcome: Outcome) -> None:
        key = outcome.problem_id
        length = float(max(1, outcome.length))  # h is a divisor, so it must not be 0
        past = history.get(key, length)
        count = self.counts.get(key, int(key in history))
        self.counts[key] = count + 1
        if self.reward.memory == "min":
            history[key] = min(past, length)
        else:
            history[key] = past + (length - past) / (count + 1)  # running mean

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.counts = dict(state["counts"])
