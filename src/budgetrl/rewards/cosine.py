"""The cosine reward of "Demystifying Long Chain-of-Thought Reasoning", with its penalty on repetition."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_count
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import cosine_between, is_right
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class Cosine(Reward):
    """Right answers are better the shorter, wrong ones the longer (arXiv 2502.03373, the cosine reward, its CosFn;
    published code: eddycmu/demystify-long-cot, openrlhf/openrlhf/reward/cosine.py).

    For a response of L tokens, of which a share `rep` of the n-grams stood there before,

        R = CosFn(L, r_0^c, r_L^c)                                 if right
            CosFn(L, r_0^w, r_L^w) + repetition_penalty * rep       if wrong
            r_e                                                     if it did not end within L_max

        CosFn(L, a, b) = b + (a - b) (1 + cos(pi L / L_max)) / 2, which falls or rises from a at 0 to b at L_max

    with a = `correct_short`, `wrong_short` (r_0), b = `correct_long`, `wrong_long` (r_L), r_e = `exceeded` and
    L_max = `max_length`.

    Paper: the formula and these five values; L_max 14336, the longest generation; n-grams of 40 tokens.
    The paper takes -0.05 off each token inside a repeated n-gram, with a discount of its own. An outcome has one
    reward, so here stands the sparse form of the published code, which charges wrong answers alone. Its weight is
    published nowhere we could read; ours is such that a wrong answer gains nothing by repeating itself.
    The published code has other defaults (0 to 1 for right answers, -1 to 0 for wrong ones), counts words for
    n-grams, and takes the last 16 tokens before L_max for exceeded.
    Published with PPO and no discount.

    Limits: wrong answers are drawn towards L_max, where r_e waits. The band of wrong answers is ten times that of
    right ones, so in mixed groups the length of right answers hardly counts.

    >>> reward = Cosine(max_length=14336)
    >>> short, long = (Outcome(well_formed=True, correct=True, length=length) for length in (0, 14336))
    >>> wrong = Outcome(well_formed=True, correct=False, length=7168, repetition=0.5)
    >>> cut = Outcome(well_formed=False, correct=False, length=14336, truncated=True)
    >>> reward([short, long, wrong, cut], progress=0)
    [2.0, 1.0, -10.0, -10.0]
    """

    name: str = "cosine"
    correct_short: float = 2.0
    """Reward of a right answer of no length at all."""
    correct_long: float = 1.0
    """Reward of a right answer of L_max tokens."""
    wrong_short: float = -10.0
    """Reward of a wrong answer of no length at all."""
    wrong_long: float = 0.0
    """Reward of a wrong answer of L_max tokens."""
    exceeded: float = -10.0
    """Reward of a response that did not end within L_max."""
    repetition_ngram: int = 40
    """Size of the n-grams, in tokens."""
    repetition_penalty: float = -10.0
    """What a wrong answer loses if all its n-grams are repeated; 0 switches it off."""
    max_length: int | None = None
    """L_max, in tokens; null: the stage's max_new_tokens."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_count(self, "repetition_ngram", "max_length")
        require(self.repetition_penalty <= 0, "repetition_penalty", f"{self.repetition_penalty} rewards repetition")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`exceeded`, `cosine` and `repetition`."""
        longest = require_max_length(self.max_length)
        ended = [not outcome.truncated and outcome.length <= longest for outcome in group]
        return {
            "exceeded": [0.0 if within else self.exceeded for within in ended],
            "cosine": [
                self._cosine(outcome, outcome.length / longest) if within else 0.0
                for outcome, within in zip(group, ended, strict=True)
            ],
            "repetition": [
                self.repetition_penalty * outcome.repetition if within and not is_right(outcome) else 0.0
                for outcome, within in zip(group, ended, strict=True)
            ],
        }

    def _cosine(self, outcome: Outcome, share: float) -> float:
        if is_right(outcome):
            return cosine_between(self.correct_short, self.correct_long, share)
        return cosine_between(self.wrong_short, self.wrong_long, share)
