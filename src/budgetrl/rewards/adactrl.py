"""AdaCtrl: reward correct difficulty tags, and short answers to problems tagged easy."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.formats.difficulty import EASY_ABOVE
from budgetrl.rewards.checks import LENGTH_COUNTS_AS_MUCH, require_finite, require_max_length
from budgetrl.rewards.group import cosine_between
from budgetrl.rewards.overlong import require_cache, soft_overlong
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class AdaCtrl(Reward):
    """Reward correct answers, correct difficulty tags, and short answers to problems tagged easy (AdaCtrl).

    Formula:
        R      = r_acc + length_weight * r_len + tag_weight * r_diff + overlong
        r_acc  = 1 if the answer is correct, else -1
        r_len  = 1 - (1 - cos(pi L / L_g)) / 2 if r_acc = 1 and the tag is Easy, else 0
        r_diff = 1 if the tag equals the label, 0 if it is the other tag, -1 if there is no tag

    Symbols:
        L: length of the response, in tokens.
        L_g: longest length in the group, including truncated responses.
        label: Easy if more than 0.625 of the group has r_acc = 1, else Hard.
        overlong: DAPO's soft overlong punishment (`reward=overlong`), from -1 to 0.

    Source: arXiv 2505.18822. Code: JoeYing1019/AdaCtrl, verl/verl/workers/reward_manager/naive.py; the label:
    verl/verl/trainer/ppo/ray_trainer.py. Formula and numbers are the code's. A correct answer without a tag keeps
    its r_acc; the missing tag costs only in r_diff, as in the code. The code has a second variant, not included
    here, in which answers tagged Hard earn more the longer they are.
    Ours: a truncated answer is never correct.
    Training: GRPO with DAPO's options: clip 0.2 and 0.28, token-level loss, dynamic sampling, no KL penalty; before
    that, a cold start that teaches the tags.

    Limits: tagging every problem Hard avoids the length term and costs only `tag_weight` when the label is Easy.
    The numbers of the overlong punishment are for 24576 tokens; see `reward=overlong`.

    >>> tagged = [(True, 1000), (True, 4000)]
    >>> group = [Outcome(well_formed=True, correct=right, length=l, easy=True) for right, l in tagged]
    >>> [round(reward, 6) for reward in AdaCtrl()(group, progress=0)]
    [1.926777, 1.5]
    """

    name: str = "adactrl"
    length_weight: float = 0.5
    """Weight of r_len."""
    tag_weight: float = 0.5
    """Weight of r_diff."""
    max_length: int | None = 24576
    """Length at which the overlong punishment is -1, in tokens; null: the stage's max_new_tokens."""
    cache: int = 4096
    """Number of tokens below max_length over which the overlong punishment grows."""

    needs_format = "difficulty"
    scores_single_responses = False

    def __post_init__(self) -> None:
        require_finite(self)
        for field in ("length_weight", "tag_weight"):
            require(getattr(self, field) >= 0, field, f"{getattr(self, field)} is negative")
        require_cache(self.cache, self.max_length)

    def per_component_problem(self) -> str | None:
        return LENGTH_COUNTS_AS_MUCH

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict`, `length`, `tag`, and `overlong`."""
        limit = require_max_length(self.max_length)
        longest = max(outcome.length for outcome in group)
        # The verdict here is `correct`, not is_right(): a response without a tag is malformed, but r_acc ignores that.
        label = fmean(outcome.correct for outcome in group) > EASY_ABOVE
        return {
            "verdict": [1.0 if outcome.correct else -1.0 for outcome in group],
            "length": [self.length_weight * _r_len(outcome, longest) for outcome in group],
            "tag": [self.tag_weight * _r_diff(outcome, label) for outcome in group],
            "overlong": [soft_overlong(outcome.length, limit, self.cache) for outcome in group],
        }


def _r_len(outcome: Outcome, longest: int) -> float:
    if not (outcome.correct and outcome.easy):
        return 0.0
    return cosine_between(1.0, 0.0, outcome.length / max(longest, 1))  # max: all lengths may be 0


def _r_diff(outcome: Outcome, label: bool) -> float:
    if outcome.easy is None:
        return -1.0
    return float(outcome.easy == label)
