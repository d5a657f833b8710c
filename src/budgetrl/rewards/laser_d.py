"""LASER-D: a target length for each difficulty, updated from the lengths that the policy generates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from budgetrl.core.checks import require, require_count, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import is_right, solve_rate, verdicts
from budgetrl.rewards.reward import Controller, Parts, Reward

DIFFICULTIES = ("easy", "medium", "hard")


def group_difficulty(group: Sequence[Outcome]) -> str:
    """Return easy if at least two thirds of the group are right, medium if at least one third, otherwise hard."""
    rate = solve_rate(group)
    if rate >= 2 / 3:
        return "easy"
    return "medium" if rate >= 1 / 3 else "hard"


@dataclass(frozen=True)
class LaserD(Reward):
    """Reward right answers, with a bonus within the target length for their group's difficulty (LASER-D).

    Formula:
        R = wrong                                          if wrong
            correct + bonus * 1[L <= target(difficulty)]   if right

    Every `update_every` rollouts, the target of each difficulty becomes the smallest T of the grid
    lower_bound, lower_bound + grid_step, ..., max_length for which

        floor(coverage(T) * n) >= 1

    that is, for which a group is expected to have at least one right response of T tokens or fewer. If no T satisfies
    this, the target is `max_length`.

    Symbols:
        L: length of the response, in tokens.
        difficulty: easy, medium, or hard, by the solve rate of the group (see `group_difficulty`).
        coverage(T): share of that difficulty's responses, right or wrong, that have T tokens or fewer.
        n: minimum number of right responses in a group of G: floor(2 G / 3) if easy, floor(G / 3) if medium, 1 if hard.
            `rounding=ceil` rounds the first two up instead.

    Source: arXiv 2505.15612, LASER-D. Code: hkust-nlp/Laser, verl/utils/reward_score/length_penalty.py: the reward, the
    condition, and n; a grid step of 1024 tokens up to 16384; a lower bound of 1024, 2048, or 4096; an update every 20
    steps.
    Ours, and different in the code: coverage uses the responses of all rollouts since the last update, at no extra
    cost; the code samples 500 problems of a monitor set. Until the first update, targets are `max_length`; the code
    has a setting for them (target_length). If no T covers enough, the code takes the longest response of the batch.
    Its verifier gives some responses -1 (see `Laser`). Also ours: a difficulty that did not occur keeps its target,
    and n is at least 1. Truncated responses are wrong, and count in the coverage with the length they had reached.
    Training: GRPO, with the ratio clipped to the range from 0.8 to 1.28.

    Limits: with `update_every` rollouts or fewer, the targets never change; the plan warns about this. The target for
    hard problems must cover every response, including truncated ones, so it soon reaches `max_length` and stays there.
    Targets are on the grid: choose its lower bound and step for the lengths of your model.

    >>> lengths, verdicts = (1000, 2000, 3000), (True, True, False)
    >>> group = [Outcome(True, correct, length) for correct, length in zip(verdicts, lengths, strict=True)]
    >>> controller = LaserD(max_length=16384, update_every=1).controller()
    >>> controller.update([group])
    >>> controller.reward.target_easy, controller.reward(group, progress=0)
    (2048, [1.5, 1.5, -0.5])
    """

    name: str = "laser_d"
    correct: float = 1.0
    """Reward of a right answer, without the bonus."""
    wrong: float = -0.5
    """Reward of a wrong answer."""
    bonus: float = 0.5
    """Bonus of a right answer within the target."""
    lower_bound: int = 1024
    """Smallest target, in tokens."""
    grid_step: int = 1024
    """Step of the grid of targets, in tokens."""
    rounding: str = "floor"
    """How n is rounded: floor or ceil."""
    update_every: int = 20
    """Number of rollouts between updates of the targets."""
    max_length: int | None = None
    """Largest target, in tokens; null: the stage's max_new_tokens."""
    target_easy: int | None = None
    """Target for easy groups, in tokens. Updated by training; null: max_length."""
    target_medium: int | None = None
    """Target for medium groups."""
    target_hard: int | None = None
    """Target for hard groups."""

    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.correct > self.wrong, "correct", f"{self.correct} is not above wrong ({self.wrong})")
        require_range(self, 0, float("inf"), "bonus")
        require_range(self, 1, float("inf"), "lower_bound", "grid_step", "update_every")
        require_option(self, ("floor", "ceil"), "rounding")
        require_count(self, "max_length", "target_easy", "target_medium", "target_hard")
        fits = self.max_length is None or self.lower_bound <= self.max_length
        require(fits, "lower_bound", f"{self.lower_bound} is above max_length ({self.max_length}); use fewer tokens")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict`, and in `length` the bonus."""
        target = self.target(group_difficulty(group))
        return {
            "verdict": verdicts(group, self.correct, self.wrong),
            "length": [self._bonus(outcome, target) for outcome in group],
        }

    def rollout_warnings(self, rollouts: int) -> list[Message]:
        """Return a warning if training ends before any rollout is rewarded with updated targets."""
        # The first update follows rollout number `update_every`, so it takes one more rollout to use it.
        if rollouts > self.update_every:
            return []
        text = f"with {self.update_every}, the targets never change, because training has {rollouts} rollouts"
        return [Message("reward.update_every", text, "set a smaller number, or train for more steps")]

    def schedule(self, progress: float) -> dict[str, float]:
        return {f"target_{name}": float(self.target(name)) for name in DIFFICULTIES}

    def controller(self) -> "LaserDController":
        return LaserDController(self)

    def target(self, difficulty: str) -> int:
        """Return the target length for a difficulty, in tokens."""
        return getattr(self, f"target_{difficulty}") or require_max_length(self.max_length)

    def smallest_target(self, difficulty: str, lengths: Sequence[int], group_size: int) -> int:
        """Return the smallest target that covers enough of these lengths for the difficulty, in tokens."""
        longest = require_max_length(self.max_length)
        n = self._min_right(difficulty, group_size)
        for target in range(self.lower_bound, longest, self.grid_step):
            covered = sum(length <= target for length in lengths)
            # floor(covered / len(lengths) * n) >= 1, in integers, so that rounding cannot change the result
            if covered * n >= len(lengths):
                return target
        return longest

    def _bonus(self, outcome: Outcome, target: int) -> float:
        return self.bonus if is_right(outcome) and outcome.length <= target else 0.0

    def _min_right(self, difficulty: str, group_size: int) -> int:
        """Return n, the minimum number of right responses. For a group of 8: 5 if easy, 2 if medium, 1 if hard."""
        thirds = {"easy": 2, "medium": 1, "hard": 0}[difficulty] * group_size
        rounded = thirds // 3 if self.rounding == "floor" else -(-thirds // 3)  # -(-a // b) rounds up
        return max(1, rounded)


@dataclass
class LaserDController(Controller):
    """Collects the lengths for each difficulty, and updates the targets every `update_every` rollouts."""

    reward: LaserD
    rollouts: int = 0
    """Number of rollouts so far."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """Lengths of the responses since the last update by difficulty: `{"easy": [812, 640, ...], ...}`."""

    updated_fields = ("target_easy", "target_medium", "target_hard")

    def update(self, groups: Sequence[Sequence[Outcome]]) -> None:
        for group in groups:
            lengths = self.lengths.setdefault(group_difficulty(group), [])
            lengths.extend(outcome.length for outcome in group)
        self.rollouts += 1
        if self.rollouts % self.reward.update_every == 0:
            self._update_targets(group_size=max(map(len, groups)))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rollouts": self.rollouts, "lengths": self.lengths}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.rollouts = state["rollouts"]
        # Copies, so that later updates do not change the caller's state.
        self.lengths = {name: list(lengths) for name, lengths in state["lengths"].items()}

    def _update_targets(self, group_size: int) -> None:
        targets: dict[str, int] = {}
        for name, lengths in self.lengths.items():  # only difficulties that occurred; the others keep their target
            targets[f"target_{name}"] = self.reward.smallest_target(name, lengths, group_size)
        self.reward = replace(self.reward, **targets)
        self.lengths = {}
