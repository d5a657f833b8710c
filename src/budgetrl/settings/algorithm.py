"""What turns rewards into a loss: the `algorithm` group."""

import math
from dataclasses import dataclass, field

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.schedules import anneal

BASELINES = ("mean", "leave_one_out")
ADVANTAGE_SCALES = ("group", "batch", "tokens", "none")
DROP_EQUAL_OPTIONS = ("none", "reward", "verdict")
RATIO_LEVELS = ("token", "sequence")
SURROGATES = ("clip", "cispo", "sapo")
LOSS_LEVELS = ("token", "sequence", "constant")
CORRECTIONS = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
KL_ESTIMATORS = ("k1", "k2", "k3")


@dataclass(frozen=True)
class AdvantageSettings:
    """From the rewards of a group to advantages; `training.advantages` has the formulas."""

    baseline: str = "mean"
    """What a reward is compared with: the group's mean, or leave_one_out, the mean of the others (RLOO)."""
    scale: str = "group"
    """What advantages are divided by, plus std_floor: the std of rewards in the group or in the batch.
    tokens: shifted and scaled to mean 0 and std 1 over all tokens (REINFORCE++). none: by nothing (Dr. GRPO)."""
    std_floor: float = 0.01
    """Added to every std that something is divided by: keeps nearly equal rewards from being blown up."""
    per_component: bool = False
    """Standardize each part of the reward in its group, then add them up, in place of the reward (GDPO)."""
    difficulty_weighting: bool = False
    """Weigh advantages by how hard the group found its problem (GRPO-LEAD)."""

    def __post_init__(self) -> None:
        require_option(self, BASELINES, "baseline")
        require_option(self, ADVANTAGE_SCALES, "scale")
        require_range(self, 0, math.inf, "std_floor")
        twice = self.per_component and self.scale == "group"
        require(not twice, "scale", "per_component has scaled each group; choose batch (GDPO), tokens or none")


@dataclass(frozen=True)
class GroupSettings:
    """Which groups are learned from."""

    drop_equal: str = "none"
    """Replace groups in which every reward, or every verdict (DAPO's dynamic sampling), is the same, by those of
    further prompts: none, reward or verdict."""
    max_rollouts: int = 10
    """Most rollouts to fill a batch where equal groups are dropped; what is missing then is made up of those."""

    def __post_init__(self) -> None:
        require_option(self, DROP_EQUAL_OPTIONS, "drop_equal")
        require_range(self, 1, math.inf, "max_rollouts")
        idle = self.drops_equal and self.max_rollouts == 1
        require(not idle, "max_rollouts", "drop_equal replaces nothing in 1 rollout; allow 2 or more")

    @property
    def drops_equal(self) -> bool:
        """Whether a batch may take several rollouts, up to `max_rollouts`."""
        return self.drop_equal != "none"


@dataclass(frozen=True)
class LossSettings:
    """From advantages to the policy loss; `training.losses` has the formulas."""

    ratio_level: str = "token"
    """Probability ratio of the new to the old policy: of each token, or sequence: their geometric mean (GSPO)."""
    surrogate: str = "clip"
    """clip: PPO's. cispo: the bounded ratio only weighs the gradient. sapo: a soft gate in place of the clip."""
    clip_low: float = 0.2
    """The ratio is bounded below by 1 - clip_low. Inactive at one optimizer step per rollout."""
    clip_high: float = 0.2
    """The ratio is bounded above by 1 + clip_high."""
    dual_clip: float | None = None
    """Bound on the ratio where the advantage is negative, which surrogate=clip has none for; null: none."""
    tau_positive: float = 1.0
    """Steepness of sapo's gate where the advantage is positive."""
    tau_negative: float = 1.05
    """Steepness of sapo's gate elsewhere."""
    level: str = "token"
    """token: every token of the batch weighs the same. sequence: every completion does.
    constant: every token weighs 1 / (completions * longest completion allowed), whatever their lengths."""
    mask_truncated: bool = False
    """Leave truncated completions out of the loss (DAPO's overlong filtering). They still count among the
    completions by which level=sequence and constant divide, as in TRL."""

    def __post_init__(self) -> None:
        require_option(self, RATIO_LEVELS, "ratio_level")
        require_option(self, SURROGATES, "surrogate")
        require_option(self, LOSS_LEVELS, "level")
        require_range(self, 0, 1, "clip_low")
        require_range(self, 0, math.inf, "clip_high")
        require_range(self, 1e-6, math.inf, "tau_positive", "tau_negative")
        if self.dual_clip is not None:
            require(self.surrogate == "clip", "dual_clip", f"surrogate={self.surrogate} has none; set it to null")
            above = 1 + self.clip_high < self.dual_clip < math.inf
            require(above, "dual_clip", f"{self.dual_clip} is not above 1 + clip_high = {1 + self.clip_high:g}")


@dataclass(frozen=True)
class MismatchSettings:
    """What is done about a rollout engine whose probabilities are not the trainer's."""

    correction: str = "none"
    """Weigh each token by how much likelier the trainer thinks it than the rollout engine did: over the
    token or the sequence; truncate: at most cap; mask: 0 outside of floor to cap."""
    cap: float = 2.0
    """Largest such ratio."""
    floor: float = 0.0
    """Smallest such ratio that a mask lets pass."""

    def __post_init__(self) -> None:
        require_option(self, CORRECTIONS, "correction")
        require_range(self, 0, math.inf, "cap", "floor")
        if self.floor:
            text = f"only a mask has a floor, not correction={self.correction}; set it to 0"
            require(self.masks, "floor", text)
        if self.correction != "none":
            require(self.floor < self.cap, "cap", "must be above floor")

    @property
    def masks(self) -> bool:
        """Whether tokens outside the bounds lose all of their weight."""
        return self.correction.endswith("mask")


@dataclass(frozen=True)
class KLSettings:
    """The penalty for leaving the initial policy."""

    coefficient: float = 0.0
    """Its weight in the loss. 0: off, and no reference model is loaded."""
    estimator: str = "k3"
    """k1, k2 or k3; `losses.kl_penalty` says what each one's value and gradient estimate."""

    def __post_init__(self) -> None:
        require_option(self, KL_ESTIMATORS, "estimator")
        require_range(self, 0, math.inf, "coefficient")


@dataclass(frozen=True)
class BudgetEntropySettings:
    """The entropy bonus on the budget field, which is ours.

    loss -= c * mean over completions of the entropy of the budget field, in nats per digit.
    """

    start: float = 0.006
    """Where c starts."""
    end: float = 0.0
    """Where c ends; it falls linearly."""
    end_at: float = 0.85
    """Share of training at which c reaches its end value, to be held from there on."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "start", "end")
        require_range(self, 0, 1, "end_at")

    def at(self, progress: float) -> float:
        """The coefficient c at `progress` (0 at the first step, 1 at the last)."""
        return anneal("linear", self.start, self.end, progress, self.end_at)


@dataclass(frozen=True)
class Algorithm:
    """The parts in which GRPO (arXiv 2402.03300) and its relatives differ; each option chooses some.

    docs/algorithms.md says who published which.
    """

    name: str = "budget_grpo"
    """The option under conf/algorithm/, or any name for a combination of your own."""
    advantage: AdvantageSettings = field(default_factory=AdvantageSettings)
    groups: GroupSettings = field(default_factory=GroupSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    mismatch: MismatchSettings = field(default_factory=MismatchSettings)
    kl: KLSettings = field(default_factory=KLSettings)
    budget_entropy: BudgetEntropySettings = field(default_factory=BudgetEntropySettings)
    optimizer_steps_per_rollout: int = 1
    """The prompts of a rollout are split into that many minibatches, one optimizer step each."""

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "name", "must not be empty")
        require_range(self, 1, math.inf, "optimizer_steps_per_rollout")

    # What a reward may ask (rewards.reward.AlgorithmTraits):

    @property
    def scaled_by_group(self) -> bool:
        """Whether the reward, or each part of it, is divided by its std in the group: small differences grow."""
        return self.advantage.scale == "group" or self.advantage.per_component

    @property
    def std_floor(self) -> float:
        """Added to that std."""
        return self.advantage.std_floor

    @property
    def per_component(self) -> bool:
        """Whether each part of the reward is standardized by itself."""
        return self.advantage.per_component

    @property
    def drop_equal_groups(self) -> str:
        """By what groups are dropped in which it is the same: none, reward or verdict."""
        return self.groups.drop_equal
