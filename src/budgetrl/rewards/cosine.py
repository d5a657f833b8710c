"""The cosine reward of "Demystifying Long Chain-of-Thought Reasoning", with a repetition penalty."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require, require_count
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import RAISES_MALFORMED, require_finite, require_max_length
from budgetrl.rewards.group import cosine_between, is_right
from budgetrl.rewards.reward import Parts, Reward

CLOSING_FACTOR = 1.155
"""Smallest penalty of a full repetition, in units of wrong_long - wrong_short, at which no loop gains anything.

An answer of the share s of max_length that loops up to the share t gains (cos(pi s) - cos(pi t)) / 2 of these units and
repeats (t - s) / t of itself. The factor is the largest quotient of the two, which is at s = 0.295 and t = 0.9175.
"""
SAFE_FACTOR = 1.2
"""The factor that the plan proposes: CLOSING_FACTOR, rounded up."""


@dataclass(frozen=True)
class Cosine(Reward):
    """Reward right answers more the shorter they are, and wrong answers more the longer they are (cosine reward).

    Formula:
        R = CosFn(L, r_0^c, r_L^c)                               if right
            CosFn(L, r_0^w, r_L^w) + repetition_penalty * rep    if wrong
            r_e                                                  if it did not end within L_max

        CosFn(L, a, b) = b + (a - b) * (1 + cos(pi L / L_max)) / 2, which goes from a at L = 0 to b at L = L_max

    Symbols:
        L: length of the response, in tokens. L_max: `max_length`.
        r_0^c, r_L^c: `correct_short`, `correct_long`. r_0^w, r_L^w: `wrong_short`, `wrong_long`. r_e: `exceeded`.
        rep: share of the response's n-grams that repeat an earlier one.

    Source: arXiv 2502.03373. Code: eddycmu/demystify-long-cot, openrlhf/openrlhf/reward/cosine.py. From the paper: the
    formula, the five reward values, L_max = 14336 (the longest generation), and n-grams of 40 tokens.
    The paper penalizes repetition per token: 0.05 for each token inside a repeated n-gram, with its own discount
    factor. Here a response has a single reward, so this class uses the other form in the published code, which
    penalizes the response as a whole, and only if it is wrong.
    Differences in the code: its defaults (0 to 1 for right answers, -1 to 0 for wrong ones), n-grams of words instead
    of tokens, and the last 16 tokens before L_max, which already count as exceeded.
    Ours: the value of `repetition_penalty`, since we found no published one. It is the range of wrong answers' rewards.
    Training: PPO without discount.

    Limits: wrong answers are pulled toward L_max, beyond which they earn r_e. The rewards of wrong answers span 10,
    those of right answers only 1, so in a group that has both, the length of right answers hardly matters. With the
    default penalty a wrong answer can gain by repeating itself: with L_max = 14336, one of 4300 tokens earns -7.94, and
    -6.89 if it then loops up to 13300 tokens (rep = 0.68). With `repetition_penalty=-12` no loop gains anything, except
    that its first 39 tokens complete no repeated n-gram; they gain at most 600 / L_max. The plan warns about penalties
    that leave a gain.

    >>> reward = Cosine(max_length=14336)
    >>> short, long = (Outcome(well_formed=True, correct=True, length=length) for length in (0, 14336))
    >>> wrong = Outcome(well_formed=True, correct=False, length=7168, repetition=0.5)
    >>> cut = Outcome(well_formed=False, correct=False, length=14336, truncated=True)
    >>> reward([short, long, wrong, cut], progress=0)
    [2.0, 1.0, -10.0, -10.0]
    """

    name: str = "cosine"
    correct_short: float = 2.0
    """Reward of a right answer of length 0 (r_0^c)."""
    correct_long: float = 1.0
    """Reward of a right answer of L_max tokens (r_L^c)."""
    wrong_short: float = -10.0
    """Reward of a wrong answer of length 0 (r_0^w)."""
    wrong_long: float = 0.0
    """Reward of a wrong answer of L_max tokens (r_L^w)."""
    exceeded: float = -10.0
    """Reward of a response that did not end within L_max (r_e)."""
    repetition_ngram: int = 40
    """Size of the n-grams, in tokens."""
    repetition_penalty: float = -10.0
    """Added to a wrong answer's reward if all its n-grams are repeated; 0 disables the penalty. With -12, a wrong
    answer gains nothing by repeating itself."""
    max_length: int | None = None
    """L_max, in tokens; null: the stage's max_new_tokens."""

    def __post_init__(self) -> None:
        require_finite(self)
        require_count(self, "repetition_ngram", "max_length")
        require(self.repetition_penalty <= 0, "repetition_penalty", f"{self.repetition_penalty} rewards repetition")

    def per_component_problem(self) -> str | None:
        return RAISES_MALFORMED  # truncated ones: only the others earn `cosine` and `repetition`

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `exceeded` for responses that did not end within L_max; `cosine` and `repetition` for all others."""
        longest = require_max_length(self.max_length)
        parts: Parts = {"exceeded": [], "cosine": [], "repetition": []}
        for outcome in group:
            exceeded = cosine = repetition = 0.0
            # A response that ended can still be longer than L_max, if max_length is below the stage's token limit.
            if outcome.truncated or outcome.length > longest:
                exceeded = self.exceeded
            else:
                cosine = self._cosine(outcome, longest)
                if not is_right(outcome):
                    repetition = self.repetition_penalty * outcome.repetition
            parts["exceeded"].append(exceeded)
            parts["cosine"].append(cosine)
            parts["repetition"].append(repetition)
        return parts

    def warnings(self) -> list[Message]:
        """Return a warning if a wrong answer can gain more by growing longer than it loses by repeating itself."""
        gain = max(0.0, self.wrong_long - self.wrong_short)
        if -self.repetition_penalty >= CLOSING_FACTOR * gain:
            return []
        text = f"with {self.repetition_penalty:g}, a wrong answer can gain by repeating itself up to max_length"
        return [Message("reward.repetition_penalty", text, f"set {-SAFE_FACTOR * gain:g} to prevent it")]

    def _cosine(self, outcome: Outcome, max_length: int) -> float:
        share = outcome.length / max_length
        if is_right(outcome):
            return cosine_between(self.correct_short, self.correct_long, share)
        return cosine_between(self.wrong_short, self.wrong_long, share)
