"""L1 max: reward right answers that are no longer than the prompt allows."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.asked_length import AskedLength
from budgetrl.rewards.checks import require_budget
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts

FORMS = ("paper", "code")
"""The two published forms of the reward: the equation in the paper and the one in the code."""


@dataclass(frozen=True)
class L1Max(AskedLength):
    """Reward right answers by how far they stay below the length that the prompt allows (L1 max).

    Formula:
        form=paper: R = 1[right] * clip(alpha * (n - L) + delta, 0, 1)
        form=code:  R = 1[right] * (clip(alpha * (n - L), -1, 1) + 1) / 2

    Symbols:
        L: length of the response, in tokens.
        n: number of tokens that the prompt allows, drawn uniformly from `budget_low` to `budget_high`.

    Wrong and truncated responses earn 0. The slope of the code form is half that of the paper form, and its value at
    L = n is 0.5 without a delta.

    Source: arXiv 2503.04697, LCPO-Max (length controlled policy optimization). Code: cmu-l3/l1, math_reward.py, which
    uses this form only if two flags are set that the released script omits. The code's default alpha is 0.01; 0.0003
    is the value for the exact reward. We quote the paper's delta of 0.5 from memory. L1 counts all tokens of the
    response (`model.length=response`) and asks to "Think for maximum {n} tokens.", which is `wording` in the sentence
    of `model=hf`.
    Training: GRPO with a KL penalty (k3, 0.001), starting from a model trained with `l1_exact`. Half of the prompts
    ask for an exact length and half for a maximum; here all ask for a maximum.

    Limits: in the paper form, all lengths of n - 0.5 / alpha tokens or fewer earn the same, and so do all of
    n + 0.5 / alpha tokens or more, where a right answer is worth no more than a wrong one.

    >>> asked = Outcome(well_formed=True, correct=True, length=1500, budget=1000)
    >>> [round(L1Max(form=form)([asked], progress=0)[0], 6) for form in FORMS]
    [0.35, 0.425]
    """

    name: str = "l1_max"
    delta: float = 0.5
    """Reward of a right answer of length n, from 0 to 1. Used by the paper form only."""
    form: str = "paper"
    """paper, or code (half the slope)."""
    wording: str = "maximum {budget}"
    """How the prompt states n."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 0, 1, "delta")
        require_option(self, FORMS, "form")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `within`: the verdict times the length term.

        Raises:
            ValueError: if a prompt asked for no length.
        """
        # The term is computed for wrong answers too, so that a missing length is always reported.
        return {"within": [is_right(outcome) * self._within(outcome) for outcome in group]}

    def _within(self, outcome: Outcome) -> float:
        unused = self.alpha * (require_budget(self, outcome) - outcome.length)  # negative beyond n
        if self.form == "code":
            return (max(-1.0, min(unused, 1.0)) + 1) / 2
        return max(0.0, min(unused + self.delta, 1.0))
