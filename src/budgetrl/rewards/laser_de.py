"""LASER-DE's reward: LASER-D, and a bonus for wrong answers that went on searching."""

from dataclasses import dataclass

from budgetrl.core.checks import require_count, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.group import is_right
from budgetrl.rewards.laser_d import LaserD


@dataclass(frozen=True)
class LaserDE(LaserD):
    """LASER-D, in which a wrong answer beyond the target earns the bonus too (arXiv 2505.15612, LASER-DE).

        R = correct + bonus 1[L <= target(difficulty)]                        if right
            wrong + bonus 1[L > target(difficulty) and not repetitive]        if wrong

    Targets, defaults and where they come from: `LaserD`.
    Ours: a response is repetitive if more than a share `most_repetition` of its n-grams of `repetition_ngram`
    tokens stood there before; a truncated response earns no bonus. The published rule (compute_unique_tokens.py) is
    much stricter: from 200 tokens on a 4-gram that occurs three times, two of them less than a third of the length
    apart, is repetition (from 100 to 199 tokens, one that occurs twice), and so is any 8-gram that occurs twice.

    Limits: those of `LaserD`; and where the target is `max_length` no wrong answer is beyond it.

    >>> reward = LaserDE(max_length=16384, target_hard=2048)
    >>> long, looping = (Outcome(True, False, 3000, repetition=share) for share in (0.0, 0.9))
    >>> reward([long, looping, Outcome(True, False, 2048)], progress=0)
    [0.0, -0.5, -0.5]
    """

    name: str = "laser_de"
    repetition_ngram: int = 40
    """Size of the n-grams whose repetition is measured, in tokens."""
    most_repetition: float = 0.2
    """Share of repeated n-grams above which a response is repetitive; 1: none is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "repetition_ngram")
        require_range(self, 0, 1, "most_repetition")

    def _bonus(self, outcome: Outcome, target: int) -> float:
        if is_right(outcome):
            return super()._bonus(outcome, target)
        searched = outcome.length > target and outcome.repetition <= self.most_repetition
        return self.bonus if searched and not outcome.truncated else 0.0
