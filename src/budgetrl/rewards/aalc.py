"""AALC: once validation accuracy has reached its target, shorter is better; until then, only accuracy counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import is_right, solve_rate
from budgetrl.rewards.reward import AlgorithmTraits, Controller, Parts, Reward

TARGET_SCHEDULES = ("constant", "decay")
DECAY = 0.9
"""What is hoped for above the best accuracy shrinks by this factor at each validation."""
DROWNED = 10
"""A std floor that many times the weight leaves the length a twentieth of an advantage at most."""
SEEN = 1e-3
"""A weight below this is lost beside verdicts of 1 where no std of the group is divided by."""


@dataclass(frozen=True)
class Aalc(Reward):
    """The accuracy-aware length reward of AALC (arXiv 2506.20160), with the numbers of its published code
    (du-nlp-lab/AALC: verl/workers/reward_manager/length_reward.py; the target: verl/trainer/ppo/ray_trainer.py).

        R     = w raw + length_weight R_len          raw = 1 if right, else 0
        w     = 0.9 + 0.1 (1 - a)                    a = min(1, A_val / A_target)
        R_len = 1 - min(a^beta, min(1, L / L_max))

    L is the length, L_max is `max_length` (here a constant of the formula, not the longest completion),
    A_val the accuracy of the last validation and A_target the one wanted. While a is below 1, a^beta is
    near 0 and every response has R_len near 1, so no length is preferred; as a nears 1, R_len nears
    1 - L / L_max. Before the first validation R = raw. Wrong and truncated responses earn
    `length_weight` R_len too, at their own length (as published).

    The paper writes R = A raw + alpha R_len with an attention A to accuracy; w, alpha = 1e-6 and
    beta = 128 are the code's. `target_schedule=decay` is in the code, commented out: A_target is the best
    accuracy so far plus a potential that begins at 1 - best and is at most 0.9 of itself at each
    validation. As published the code cannot run (a misspelled variable); this follows its formula.

    Published with GRPO, advantages over (std + 1e-6).

    Limits: a term of 1e-6 shows only in groups whose verdicts are all alike, and only once it is divided by
    their standard deviation. It needs advantages scaled by the group's std, as GRPO's are, with
    `algorithm.advantage.std_floor=1e-6`, or a length_weight of the size of the verdict; what cannot work is
    refused. Rewards closer than 1e-9 count as equal: with the defaults, lengths that are one token apart. Responses
    longer than L_max are alike.

    >>> outcome = Outcome(well_formed=True, correct=True, length=512)
    >>> [round(Aalc(validation_accuracy=accuracy)([outcome], 0)[0], 10) for accuracy in (0.7, 0.99, 1.0)]
    [0.930001, 0.9010007237, 0.9000005]
    """

    name: str = "aalc"
    length_weight: float = 1e-6
    """Weight of R_len (alpha)."""
    beta: float = 128.0
    """How sharply length begins to count as accuracy comes to its target."""
    max_length: int | None = 1024
    """L_max, in tokens: beyond it length makes no difference. null: the stage's max_new_tokens."""
    target_accuracy: float = 1.0
    """A_target, a share; with target_schedule=decay it moves."""
    target_schedule: str = "constant"
    """constant, or decay: from 1 towards the best accuracy so far."""
    validation_accuracy: float | None = None
    """A_val, a share; null before the first validation. Training fills it in."""

    needs_validation = True

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.length_weight >= 0, "length_weight", f"{self.length_weight} is negative")
        require(self.beta > 0, "beta", f"{self.beta} is not positive")
        require(self.max_length is None or self.max_length > 0, "max_length", f"{self.max_length} is not positive")
        require(0 < self.target_accuracy <= 1, "target_accuracy", f"{self.target_accuracy} is not in (0, 1]")
        require_option(self, TARGET_SCHEDULES, "target_schedule")
        if self.validation_accuracy is not None:
            require_range(self, 0, 1, "validation_accuracy")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        attained = self.target_attained()
        return {
            "verdict": [self._verdict_weight() * is_right(outcome) for outcome in group],
            "length": [self._length(outcome, attained) for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {"target_attained": self.target_attained(), "target_accuracy": self.target_accuracy}

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """A length term that nothing blows up, or that a floor far above it keeps from being blown up, or that would
        count in those groups alone that are dropped."""
        weight = self.length_weight
        if 0 < weight < SEEN and algorithm.drop_equal_groups == "verdict":
            text = f"{weight:g} counts where all are right alone, and algorithm.groups.drop_equal=verdict drops these"
            hint = "set that to none, or a length_weight of the size of the verdict, such as 0.1"
            return [Message("reward.length_weight", text, hint)]
        if not weight or weight >= (algorithm.std_floor / DROWNED if algorithm.scaled_by_group else SEEN):
            return []
        scale = "" if algorithm.scaled_by_group else "algorithm.advantage.scale=group and "
        text = f"{weight:g} is too small for length to count with this algorithm"
        floor = f"{scale}algorithm.advantage.std_floor={weight:g}"
        hint = f"set {floor}, or a length_weight of the size of the verdict, such as 0.1"
        return [Message("reward.length_weight", text, hint)]

    def target_attained(self) -> float:
        """a, the share of the target accuracy that the last validation came to; 0 before the first."""
        return min(1.0, (self.validation_accuracy or 0.0) / self.target_accuracy)

    def controller(self) -> "AalcController":
        return AalcController(self)

    def _verdict_weight(self) -> float:
        return 1.0 if self.validation_accuracy is None else 0.9 + 0.1 * (1 - self.target_attained())

    def _length(self, outcome: Outcome, attained: float) -> float:
        if self.validation_accuracy is None:
            return 0.0
        share = min(1.0, outcome.length / require_max_length(self.max_length))
        return self.length_weight * (1 - min(attained**self.beta, share))


@dataclass
class AalcController(Controller):
    """Keeps the accuracy of the last validation, and moves the target if its schedule is decay."""

    reward: Aalc
    best: float = 0.0
    """Highest validation accuracy so far."""
    potential: float = 1.0
    """How far above `best` the target lies."""
    moves = ("validation_accuracy", "target_accuracy")

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        accuracy = fmean(map(solve_rate, groups))
        first = self.reward.validation_accuracy is None
        self.best = max(self.best, accuracy)
        self.potential = 1 - self.best if first else min(1 - self.best, DECAY * self.potential)
        target = self.best + self.potential if self.reward.target_schedule == "decay" else self.reward.target_accuracy
        self.reward = replace(self.reward, validation_accuracy=accuracy, target_accuracy=min(1.0, target))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"best": self.best, "potential": self.potential}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.best, self.potential = state["best"], state["potential"]
