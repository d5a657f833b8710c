"""ThinkPrune: right answers within a limit count, and the limit comes down in stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from budgetrl.core.checks import require
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome
from budgetrl.rewards.checks import per_component_error
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import AlgorithmTraits, Parts, Reward


@dataclass(frozen=True)
class ThinkPrune(Reward):
    """ThinkPrune's reward with its staged limits (arXiv 2504.01296; published scripts: UCSB-NLP-Chang/ThinkPrune,
    local_scripts/).

        R = 1 if right and L <= limit, else 0

    L is the length. The limits are in force one after the other, for equal shares of training. A truncated
    response is wrong.

    In the paper each stage is a run of its own from the checkpoint before, and responses are cut at the limit while
    they are written. Here the stages are one run and responses go on to `stage.max_new_tokens`: the same
    rewards for more tokens. Set that to the first limit. The paper's system prompt states the limit;
    ours does not.

    Published with GRPO and a KL penalty (k3, 0.001). `algorithm.advantage.per_component` is refused: standardized by
    itself, what is taken back from right answers beyond the limit puts them below wrong ones.

    Limits: within the limit no length is preferred. A limit far below what the model writes leaves groups
    in which nothing is rewarded.

    >>> group = [Outcome(well_formed=True, correct=True, length=length) for length in (1900, 3500)]
    >>> [ThinkPrune()(group, progress) for progress in (0.0, 0.5)]
    [[1.0, 1.0], [1.0, 0.0]]
    """

    name: str = "thinkprune"
    limits: tuple[int, ...] = (4000, 3000, 2000)
    """The limit of each stage of training, in tokens."""

    length_fields = ("limits",)

    def __post_init__(self) -> None:
        require(len(self.limits) > 0, "limits", "there is none; give one for each stage of training")
        require(min(self.limits) >= 1, "limits", f"{min(self.limits)} is not positive")

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        """`verdict`, and `over_limit`, which takes back what a right answer beyond the limit would earn."""
        limit = self.limit(progress)
        return {
            "verdict": [float(is_right(outcome)) for outcome in group],
            "over_limit": [-1.0 if is_right(outcome) and outcome.length > limit else 0.0 for outcome in group],
        }

    def errors(self, algorithm: AlgorithmTraits) -> list[Message]:
        """Parts of equal weight, one of which takes back what right answers earn."""
        return [per_component_error(self)] if algorithm.per_component else []

    def schedule(self, progress: float) -> dict[str, float]:
        return {"limit": float(self.limit(progress))}

    def limit(self, progress: float) -> int:
        """The limit in force at `progress` (0 to 1) of training, in tokens."""
        stage = int(progress * len(self.limits))
        return self.limits[min(stage, len(self.limits) - 1)]
