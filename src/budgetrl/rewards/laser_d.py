"""LASER-D's reward: a target length for each difficulty, found by what the policy writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import is_right, solve_rate
from budgetrl.rewards.reward import Controller, Parts, Reward

DIFFICULTIES = ("easy", "medium", "hard")


def difficulty(group: Sequence[Outcome]) -> str:
    """easy if two thirds of the group or more are right, medium from one third on, else hard."""
    rate = solve_rate(group)
    return "easy" if rate >= 2 / 3 else "medium" if rate >= 1 / 3 else "hard"


@dataclass(frozen=True)
class LaserD(Reward):
    """A right answer within the target length of its group's difficulty earns a bonus (arXiv 2505.15612, LASER-D).

        R = wrong if wrong, correct + bonus 1[L <= target(difficulty)] if right

    Every `update_every` rollouts the target of each difficulty becomes the smallest T of the grid
    lower_bound, lower_bound + grid_step, ... max_length for which

        floor(coverage(T) n) >= 1

    where coverage(T) is the share of that difficulty's responses, right or wrong, of T tokens or fewer, and n says
    how many of a group of G are sure to be right: floor(2 G / 3) if easy, floor(G / 3) if medium, 1 if hard.
    `rounding=ceil` rounds these two up instead. Where no T covers enough, the target is `max_length`.

    Published code (hkust-nlp/Laser: verl/utils/reward_score/length_penalty.py): the reward, the condition and n;
    grid steps of 1024 tokens up to 16384, a lower bound of 1024, 2048 or 4096, an update every 20 steps. It differs
    in this: 500 problems of a monitor set are sampled for the coverage, here the responses are those of the rollouts
    since the last update, which cost nothing more; until the first update its targets are a configured
    target_length, here `max_length`; where no T covers enough it takes the longest response of the batch; and its
    verifier gives some responses -1 (`Laser`). Ours, too: a difficulty that did not occur keeps its target; n is at
    least 1. Truncated responses are wrong, and count in the coverage with what they came to.
    Published with GRPO, clipped from 0.8 to 1.28.

    Limits: a hard problem's target covers every response, truncated ones included, so it soon is `max_length`
    and stays there. Targets stand on the grid: choose its lower bound and step by the lengths of your model.

    >>> lengths, verdicts = (1000, 2000, 3000), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> controller = LaserD(max_length=16384, update_every=1).controller()
    >>> controller.update([group])
    >>> controller.reward.target_easy, controller.reward(group, progress=0)
    (2048, [1.5, 1.5, -0.5])
    """

    name: str = "laser_d"
    correct: float = 1.0
    """Reward of a right answer."""
    wrong: float = -0.5
    """Reward of a wrong answer."""
    bonus: float = 0.5
    """Reward of keeping within the target."""
    lower_bound: int = 1024
    """Smallest target, in tokens."""
    grid_step: int = 1024
    """Distance between the targets tried, in tokens."""
    rounding: str = "floor"
    """How many of a group are sure to be right: floor or ceil of two thirds and of one third."""
    update_every: int = 20
    """Rollouts between updates of the targets."""
    max_length: int | None = None
    """Largest target, in tokens; null: the stage's max_new_tokens."""
    target_easy: int | None = None
    """Target of groups that are two thirds right or more, in tokens, moved by training; null: max_length."""
    target_medium: int | None = None
    """Target of groups that are one third right or more."""
    target_hard: int | None = None
    """Target of all others."""

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.correct > self.wrong, "correct", f"{self.correct} is not above wrong ({self.wrong})")
        require_range(self, 0, float("inf"), "bonus")
        require_range(self, 1, float("inf"), "lower_bound", "grid_step", "update_every")
        require_option(self, ("floor", "ceil"), "rounding")
        require_count(self, "max_length", "target_easy", "target_medium", "target_hard")
        room = self.max_length is None or self.lower_bound <= self.max_length
        require(room, "lower_bound", f"{self.lower_bound} is above max_length ({self.max_length}); give fewer tokens")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict` and `length`."""
        target = self.target(difficulty(group))
        return {
            "verdict": [self.correct if is_right(outcome) else self.wrong for outcome in group],
            "length": [self._bonus(outcome, target) for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {f"target_{name}": float(self.target(name)) for name in DIFFICULTIES}

    def controller(self) -> "LaserDController":
        return LaserDController(self)

    def target(self, difficulty: str) -> int:
        """L_T of a difficulty, in tokens."""
        return getattr(self, f"target_{difficulty}") or require_max_length(self.max_length)

    def smallest_target(self, difficulty: str, lengths: Sequence[int], group_size: int) -> int:
        """The smallest target that covers as many of these lengths as the difficulty asks for, in tokens."""
        longest, sure = require_max_length(self.max_length), self._sure(difficulty, group_size)
        for target in range(self.lower_bound, longest, self.grid_step):
            if sum(length <= target for length in lengths) * sure >= len(lengths):
                return target
        return longest

    def _bonus(self, outcome: Outcome, target: int) -> float:
        return self.bonus if is_right(outcome) and outcome.length <= target else 0.0

    def _sure(self, difficulty: str, group_size: int) -> int:
        thirds = {"easy": 2, "medium": 1, "hard": 0}[difficulty] * group_size
        return max(1, thirds // 3 if self.rounding == "floor" else -(-thirds // 3))


@dataclass
class LaserDController(Controller):
    """Collects the lengths of each difficulty, and moves the targets when it is time."""

    reward: LaserD
    rollouts: int = 0
    """Seen so far."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """Lengths of the responses since the last update, by the difficulty of their group."""

    moves = ("target_easy", "target_medium", "target_hard")

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        for group in groups:
            self.lengths.setdefault(difficulty(group), []).extend(outcome.length for outcome in group)
        self.rollouts += 1
        if self.rollouts % self.reward.update_every == 0:
            self._move_targets(max(map(len, groups)))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rollouts": self.rollouts, "lengths": self.lengths}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.rollouts, self.lengths = state["rollouts"], {name: [*found] for name, found in state["lengths"].items()}

    def _move_targets(self, group_size: int) -> None:
        targets = {
            f"target_{name}": self.reward.smallest_target(name, lengths, group_size)
            for name, lengths in self.lengths.items()
        }
        self.reward, self.lengths = replace(self.reward, **targets), {}
