"""AdaCtrl: the model tags a problem easy or hard; tags are to be right, and easy problems short."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.formats.difficulty import EASY_ABOVE
from budgetrl.rewards.checks import require_finite, require_max_length
from budgetrl.rewards.group import cosine_between
from budgetrl.rewards.overlong import require_cache, soft_overlong
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class AdaCtrl(Reward):
    """AdaCtrl's reward (arXiv 2505.18822), as its published code has it (JoeYing1019/AdaCtrl:
    verl/verl/workers/reward_manager/naive.py; the label: verl/verl/trainer/ppo/ray_trainer.py).

        R = r_acc + length_weight r_len + tag_weight r_diff + overlong

    r_acc    1 if the answer is correct, which a truncated one never is, else -1
    r_diff   1 if the tag is the group's label, 0 if it is the other one, -1 without a tag; the label is Easy
             if more than 0.625 of the group has r_acc = 1, else Hard
    r_len    1 - (1 - cos(pi L / L_g)) / 2 if r_acc = 1 and the tag is Easy, else 0; L_g is the longest length
             of the group, truncated ones included
    overlong DAPO's soft overlong punishment (`reward=overlong`), from -1 to 0

    A correct answer without a tag keeps its r_acc: what it lacks costs in r_diff, as in the code. That
    a truncated answer is never correct is ours. The code holds a second variant, in which answers tagged
    Hard earn more the longer they are; it is not here.

    Published with GRPO and DAPO's options: clip 0.2 and 0.28, the token-level loss, dynamic sampling, no KL
    penalty. Before that the model is taught the tags in a cold start.

    Limits: tagging every problem Hard evades the length term and costs only `tag_weight` where the label is
    Easy. The numbers of the overlong punishment are for 24576 tokens; see `reward=overlong`.

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
    """Tokens before max_length over which the overlong punishment grows."""

    needs_format = "difficulty"

    def __post_init__(self) -> None:
        require_finite(self)
        for field in ("length_weight", "tag_weight"):
            require(getattr(self, field) >= 0, field, f"{getattr(self, field)} is negative")
        require_cache(self.cache, self.max_length)

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict`, `length`, `tag` and `overlong`."""
        longest, limit = max(outcome.length for outcome in group), require_max_length(self.max_length)
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
    return cosine_between(1.0, 0.0, outcome.length / max(longest, 1))


def _r_diff(outcome: Outcome, easy: bool) -> float:
    if outcome.easy is None:
        return -1.0
    return float(outcome.easy == easy)
