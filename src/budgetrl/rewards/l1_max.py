"""L1 max: a right answer, and no longer than the prompt allows."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.records import Outcome
from budgetrl.rewards.asked_length import AskedLength
from budgetrl.rewards.checks import require_budget
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Parts

FORMS = ("paper", "code")


@dataclass(frozen=True)
class L1Max(AskedLength):
    """The maximum length reward of length controlled policy optimization (L1, arXiv 2503.04697, LCPO-Max; published
    code: cmu-l3/l1, math_reward.py).

        form=paper   R = [right] clip(alpha (n - L) + delta, 0, 1)
        form=code    R = [right] (clip(alpha (n - L), -1, 1) + 1) / 2

    n is the number of tokens that the prompt allows, drawn evenly from `budget_low` to `budget_high`, L the length.
    Wrong and truncated responses earn 0. The code's slope is half the paper's, and its value at L = n is 0.5 without
    a delta. It takes this form only if two flags are set, which the released script leaves out; its
    default alpha is 0.01, and 0.0003 is that of the exact reward. The paper's delta of 0.5 is from memory.
    L1 counts all tokens of the response (`model.length=response`), and asks to "Think for maximum {n}
    tokens.", which is `wording` in the sentence of `model=hf`.

    Published with GRPO and a KL penalty (k3, 0.001), from a model that was trained with `l1_exact` first, on
    exact and maximum prompts half and half; here all prompts are of the second kind.

    Limits: from n - 0.5 / alpha tokens down (paper form) all lengths earn the same, and so do all
    from n + 0.5 / alpha up, where right is worth no more than wrong.

    >>> asked = Outcome(well_formed=True, correct=True, length=1500, budget=1000)
    >>> [round(L1Max(form=form)([asked], progress=0)[0], 6) for form in FORMS]
    [0.35, 0.425]
    """

    name: str = "l1_max"
    delta: float = 0.5
    """Reward of a right answer of exactly the length allowed, from 0 to 1; the paper form's."""
    form: str = "paper"
    """paper, or code: half the slope."""
    wording: str = "maximum {budget}"
    """How a prompt names the number of tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 0, 1, "delta")
        require_option(self, FORMS, "form")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`within`: verdict and length multiplied; ValueError if a prompt asked for no length."""
        return {"within": [is_right(outcome) * self._within(outcome) for outcome in group]}

    def _within(self, outcome: Outcome) -> float:
        left = self.alpha * (require_budget(self, outcome) - outcome.length)
        if self.form == "code":
            return (max(-1.0, min(left, 1.0)) + 1) / 2
        return max(0.0, min(left + self.delta, 1.0))
