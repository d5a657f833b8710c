"""ThinkPrune: reward right answers within a length limit that decreases in stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import LOWERS_RIGHT_ONLY
from budgetrl.rewards.group import is_right, verdicts
from budgetrl.rewards.reward import Parts, Reward


@dataclass(frozen=True)
class ThinkPrune(Reward):
    """Reward right answers no longer than a limit that decreases in stages (ThinkPrune).

    Formula:
        R = 1[right and L <= limit]

    Symbols:
        L: length of the response, in tokens.
        limit: the entry of `limits` for the current stage. All stages take equal shares of training.

    A truncated response is wrong.

    Source: arXiv 2504.01296. Code: UCSB-NLP-Chang/ThinkPrune, local_scripts/. There, each stage is a run of its own
    that starts from the previous checkpoint, responses are cut off at the limit during generation, and the system
    prompt states the limit.
    Ours: all stages in one run, with responses of up to `stage.max_new_tokens`. The rewards are the same but
    generation costs more tokens; set max_new_tokens to the first limit. Our prompt does not state the limit.
    Training: GRPO with a KL penalty (k3, 0.001).

    Limits: within the limit, no length is preferred. A limit far below the lengths that the model generates leaves
    groups without any reward.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (1900, 3500)]
    >>> [ThinkPrune()(group, progress) for progress in (0.0, 0.5)]
    [[1.0, 1.0], [1.0, 0.0]]
    """

    name: str = "thinkprune"
    limits: tuple[int, ...] = (4000, 3000, 2000)
    """The limit of each stage of training, in tokens."""

    length_fields = ("limits",)

    def __post_init__(self) -> None:
        require(len(self.limits) > 0, "limits", "is empty", "set one limit for each stage of training")
        require(min(self.limits) >= 1, "limits", f"{min(self.limits)} is not positive")

    def per_component_problem(self) -> str | None:
        return LOWERS_RIGHT_ONLY

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """Return `verdict`, and `over_limit`, which cancels the verdict of a right answer beyond the limit."""
        limit = self.limit(progress)
        return {
            "verdict": verdicts(group),
            "over_limit": [-1.0 if is_right(outcome) and outcome.length > limit else 0.0 for outcome in group],
        }

    def schedule(self, progress: float) -> dict[str, float]:
        return {"limit": float(self.limit(progress))}

    def limit(self, progress: float) -> int:
        """Return the limit at `progress` (0 to 1) of training, in tokens."""
        stage = int(progress * len(self.limits))
        return self.limits[min(stage, len(self.limits) - 1)]  # progress 1 is the last step: last stage
