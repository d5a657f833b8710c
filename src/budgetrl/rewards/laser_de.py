"""LASER-DE: LASER-D, with a bonus for wrong answers that keep exploring."""

from dataclasses import dataclass

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.group import is_right
from budgetrl.rewards.laser_d import LaserD


@dataclass(frozen=True)
class LaserDE(LaserD):
    """LASER-D, in which a wrong answer longer than the target also earns the bonus (LASER-DE).

    Formula:
        R = correct + bonus * 1[L <= target(difficulty)]                        if right
            wrong + bonus * 1[L > target(difficulty) and not repetitive]        if wrong

    Symbols:
        L: length of the response, in tokens.
        target(difficulty): see `LaserD`.
        repetitive: more than a share `most_repetition` of the response's n-grams, of `repetition_ngram` tokens each,
            repeat an earlier one.

    Source: arXiv 2505.15612, LASER-DE. Code, targets, and defaults: see `LaserD`. The published rule for repetition
    (compute_unique_tokens.py) is much stricter. From 200 tokens on, a response is repetitive if a 4-gram occurs three
    times with two occurrences less than a third of the length apart. From 100 to 199 tokens, a 4-gram that occurs
    twice is enough. So is any 8-gram that occurs twice.
    Ours: the rule for repetition. A truncated response earns no bonus.
    Training: see `LaserD`.

    Limits: those of `LaserD`. Where the target is `max_length`, no wrong answer is longer than the target.

    >>> reward = LaserDE(max_length=16384, target_hard=2048)
    >>> long, looping = (Outcome(True, False, 3000, repetition=share) for share in (0.0, 0.9))
    >>> reward([long, looping, Outcome(True, False, 2048)], progress=0)
    [0.0, -0.5, -0.5]
    """

    name: str = "laser_de"
    repetition_ngram: int = 40
    """Size of the n-grams whose repetition is measured, in tokens."""
    most_repetition: float = 0.2
    """Share of repeated n-grams above which a response is repetitive; 1: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "repetition_ngram")
        require_range(self, 0, 1, "most_repetition")

    def per_component_problem(self) -> str | None:
        text = (
            "wrong answers beyond the target then gain as much from the bonus as right ones within it from the verdict"
        )
        return text if self.bonus else None

    def _bonus(self, outcome: Outcome, target: int) -> float:
        if is_right(outcome):
            return super()._bonus(outcome, target)
        # A wrong answer: reward continued exploration, unless the response only loops or never ends.
        explored = outcome.length > target and outcome.repetition <= self.most_repetition
        return self.bonus if explored and not outcome.truncated else 0.0
