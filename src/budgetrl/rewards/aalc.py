"""AALC: reward short responses once validation accuracy reaches its target; until then, reward accuracy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite, require_max_length
from budgetrl.rewards.group import solve_rate, verdicts
from budgetrl.rewards.reward import AlgorithmTraits, Controller, Parts, Reward

TARGET_SCHEDULES = ("constant", "decay")
DECAY = 0.9
"""Factor by which the potential (target minus best accuracy) shrinks at each validation."""
MAX_FLOOR_RATIO = 10
"""Largest std floor, as a multiple of length_weight, at which length still counts: about 5 % of an advantage."""
MIN_UNSCALED_WEIGHT = 1e-3
"""Smallest length_weight that still counts next to verdicts of 0 and 1 if nothing divides by the group's std."""


@dataclass(frozen=True)
class Aalc(Reward):
    """Add a small bonus for short responses that takes effect as validation accuracy nears its target (AALC).

    Formula:
        R     = w * 1[right] + length_weight * R_len
        w     = 0.9 + 0.1 * (1 - a)
        R_len = 1 - min(a^beta, min(1, L / L_max))
        a     = min(1, A_val / A_target)

    Before the first validation, R = 1[right].

    Symbols:
        L: length of the response, in tokens.
        L_max: `max_length`, a constant of the formula here, not the longest completion.
        A_val: accuracy of the last validation. A_target: `target_accuracy`.

    While a is below 1, a^beta is close to 0, so R_len is close to 1 for every response and no length is preferred.
    As a approaches 1, R_len approaches 1 - L / L_max. Wrong and truncated responses also earn
    `length_weight * R_len` at their own length, as published.

    Source: arXiv 2506.20160. Code: du-nlp-lab/AALC, verl/workers/reward_manager/length_reward.py; the target:
    verl/trainer/ppo/ray_trainer.py. The paper writes R = A raw + alpha R_len, with A an attention to accuracy and
    raw the verdict. The formula for w, alpha = 1e-6 (`length_weight`), and beta = 128 are the code's.
    `target_schedule=decay` is in the code but commented out: A_target is the best accuracy so far plus a potential,
    which starts at 1 - best and shrinks to at most 0.9 of itself at each validation. The published code does not
    run because of a misspelled variable; this class follows its formula.
    Training: GRPO with advantages divided by (std + 1e-6).

    Limits: a term of 1e-6 matters only in groups with equal verdicts, and only after division by their standard
    deviation. It needs advantages scaled by the group's std, as in GRPO, with
    `algorithm.advantage.std_floor=1e-6`, or a length_weight comparable to the verdict; `errors` rejects other
    combinations. Rewards closer than 1e-9 count as equal; with the defaults, this includes lengths one token apart.
    Responses longer than L_max all earn the same.

    >>> outcome = Outcome(well_formed=True, correct=True, length=512)
    >>> [round(Aalc(validation_accuracy=accuracy)([outcome], 0)[0], 10) for accuracy in (0.7, 0.99, 1.0)]
    [0.930001, 0.9010007237, 0.9000005]
    """

    name: str = "aalc"
    length_weight: float = 1e-6
    """Weight of R_len; alpha in the paper."""
    beta: float = 128.0
    """Exponent of a. The larger it is, the later and more abruptly length starts to count."""
    max_length: int | None = 1024
    """L_max, in tokens; longer responses all earn the same. null: the stage's max_new_tokens."""
    target_accuracy: float = 1.0
    """A_target, from 0 to 1; target_schedule=decay changes it during training."""
    target_schedule: str = "constant"
    """constant, or decay: from 1 toward the best accuracy so far."""
    validation_accuracy: float | None = None
    """A_val, from 0 to 1; null before the first validation. Set by training."""

    needs_validation = True
    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.length_weight >= 0, "length_weight", f"{self.length_weight} is negative")
        require(self.beta > 0, "beta", f"{self.beta} is not positive")
        require(self.max_length is None or self.max_length > 0, "max_length", f"{self.max_length} is not positive")
        require(0 < self.target_accuracy <= 1, "target_accuracy", f"{self.target_accuracy} is not in (0, 1]")
        require_option(self, TARGET_SCHEDULES, "target_schedule")
        if self.validation_accuracy is not None:
            require_range(self, 0, 1, "validation_accuracy")

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH if self.length_weight else None

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict` and `length`."""
        attained = self.target_attained()
        return {
            "verdict": verdicts(group, right=self._verdict_weight()),
            "length": [self._length(outcome, attained) for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {"target_attained": self.target_attained(), "target_accuracy": self.target_accuracy}

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """Return an error for `per_component`, or if the algorithm makes the length term negligible.

        Three settings do the latter: no division by the group's std, a std floor far above the length weight, or
        dropping exactly the groups in which the term counts.
        """
        weight = self.length_weight
        if found := super().errors(algorithm):
            return found
        if not weight:
            return []  # a weight of 0 asks for no length term
        # A tiny weight counts only where all verdicts are equal, and drop_equal=verdict drops these groups.
        if weight < MIN_UNSCALED_WEIGHT and algorithm.drop_equal_groups == "verdict":
            text = (
                f"{weight:g} counts only in groups with equal verdicts, and algorithm.groups.drop_equal=verdict drops "
                "these groups"
            )
            hint = "set that to none, or length_weight to a value comparable to the verdict, such as 0.1"
            return [Message("reward.length_weight", text, hint)]
        # Divided by the group's std, the term has size weight / (std + floor), where std itself is below the weight.
        smallest = algorithm.std_floor / MAX_FLOOR_RATIO if algorithm.scaled_by_group else MIN_UNSCALED_WEIGHT
        if weight >= smallest:
            return []
        scale = "" if algorithm.scaled_by_group else "algorithm.advantage.scale=group and "
        text = f"{weight:g} is too small for length to count with this algorithm"
        floor = f"{scale}algorithm.advantage.std_floor={weight:g}"
        hint = f"set {floor}, or length_weight to a value comparable to the verdict, such as 0.1"
        return [Message("reward.length_weight", text, hint)]

    def target_attained(self) -> float:
        """Return a: the last validation accuracy as a share of the target, at most 1; 0 before the first validation."""
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
    """Stores the accuracy of the last validation, and moves the target if target_schedule is decay."""

    reward: Aalc
    best: float = 0.0
    """Highest validation accuracy so far."""
    potential: float = 1.0
    """How far the target is above `best`."""
    updated_fields = ("validation_accuracy", "target_accuracy")

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        accuracy = fmean(map(solve_rate, groups))
        self.best = max(self.best, accuracy)
        room = 1 - self.best
        first = self.reward.validation_accuracy is None
        # The potential starts at the whole room above the best accuracy. Later it shrinks by DECAY at each
        # validation, and never exceeds the room, which keeps the target at 1 or below.
        self.potential = room if first else min(room, DECAY * self.potential)
        decays = self.reward.target_schedule == "decay"
        target = self.best + self.potential if decays else self.reward.target_accuracy
        # min: the reward rejects targets above 1, so rounding must not lift the sum above it.
        self.reward = replace(self.reward, validation_accuracy=accuracy, target_accuracy=min(1.0, target))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"best": self.best, "potential": self.potential}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.best, self.potential = state["best"], state["potential"]
