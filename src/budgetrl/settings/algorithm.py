"""The `algorithm` group: how rewards become advantages, and advantages a policy loss."""

import math
from dataclasses import dataclass, field

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.schedules import anneal

BASELINES = ("mean", "leave_one_out")
ADVANTAGE_SCALES = ("group", "batch", "tokens", "none")
ALL_WRONG_OPTIONS = ("published", "ignored")
DROP_EQUAL_OPTIONS = ("none", "reward", "verdict")
RATIO_LEVELS = ("token", "sequence")
SURROGATES = ("clip", "cispo", "sapo")
LOSS_LEVELS = ("token", "sequence", "constant")
CORRECTIONS = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
KL_ESTIMATORS = ("k1", "k2", "k3")


@dataclass(frozen=True)
class AdvantageSettings:
    """How the rewards of a group become advantages. The formulas are in `training.advantages`."""

    baseline: str = "mean"
    """Baseline subtracted from each reward: mean (of the group) or leave_one_out (mean of the others; RLOO)."""
    scale: str = "group"
    """How advantages are scaled: group or batch (divide by the std of rewards in the group or batch, plus std_floor),
    tokens (normalize to mean 0 and std 1 over all tokens of the batch; REINFORCE++) or none (Dr. GRPO)."""
    std_floor: float = 0.01
    """Added to every std before dividing by it, so that tiny reward differences are not amplified."""
    per_component: bool = False
    """Standardize each component of the reward within its group and use the sum in place of the reward (GDPO)."""
    difficulty_weighting: bool = False
    """Weight advantages by problem difficulty, measured by the group's share of right answers (GRPO-LEAD)."""
    length_when_all_wrong: str = "published"
    """In groups without a right answer: published (the reward as it is, in which a short wrong answer may earn most) or
    ignored (all wrong answers get their mean reward, and all malformed ones theirs, so giving up does not pay)."""

    def __post_init__(self) -> None:
        require_option(self, BASELINES, "baseline")
        require_option(self, ADVANTAGE_SCALES, "scale")
        require_option(self, ALL_WRONG_OPTIONS, "length_when_all_wrong")
        require_range(self, 0, math.inf, "std_floor")
        # per_component already divides by the std of the group, so scale=group would divide twice.
        scaled_twice = self.per_component and self.scale == "group"
        require(
            not scaled_twice,
            "scale",
            "group cannot be combined with per_component, which already scales within each group",
            "set batch (as in GDPO), tokens or none",
        )


@dataclass(frozen=True)
class GroupSettings:
    """Which groups of completions are used for training."""

    drop_equal: str = "none"
    """Replace uninformative groups with groups from new prompts: none, reward (all rewards in the group are equal) or
    verdict (all completions are right, or all are wrong; DAPO's dynamic sampling)."""
    max_rollouts: int = 10
    """Maximum rollouts per batch if drop_equal is set. If the batch is still not full, dropped groups fill it up."""

    def __post_init__(self) -> None:
        require_option(self, DROP_EQUAL_OPTIONS, "drop_equal")
        require_range(self, 1, math.inf, "max_rollouts")
        no_retries = self.drops_equal and self.max_rollouts == 1
        require(not no_retries, "max_rollouts", "1 leaves drop_equal no rollout for replacements", "set 2 or more")

    @property
    def drops_equal(self) -> bool:
        """Whether groups are dropped and replaced, so that one batch may take up to `max_rollouts` rollouts."""
        return self.drop_equal != "none"


@dataclass(frozen=True)
class LossSettings:
    """How advantages become the policy loss. The formulas are in `training.losses`."""

    ratio_level: str = "token"
    """Probability ratio of new to old policy: token (one per token) or sequence (their geometric mean; GSPO)."""
    surrogate: str = "clip"
    """clip (PPO), cispo (the bounded ratio is a constant weight on the gradient) or sapo (a soft gate instead of a
    clip)."""
    clip_low: float = 0.2
    """The ratio is clipped at 1 - clip_low. Has no effect with one optimizer step per rollout."""
    clip_high: float = 0.2
    """The ratio is clipped at 1 + clip_high. Has no effect with one optimizer step per rollout."""
    dual_clip: float | None = None
    """Upper bound on the ratio for negative advantages, which surrogate=clip leaves unbounded; null: no bound."""
    tau_positive: float = 1.0
    """Steepness of the sapo gate for positive advantages."""
    tau_negative: float = 1.05
    """Steepness of the sapo gate for all other advantages."""
    level: str = "token"
    """How the loss is averaged: token (every token of the batch has the same weight), sequence (every completion has
    the same weight) or constant (every token has weight 1 / (completions * max_new_tokens))."""
    mask_truncated: bool = False
    """Leave truncated completions out of the loss (DAPO's overlong filtering). As in TRL, they still count as
    completions in the denominator of level=sequence and level=constant."""

    def __post_init__(self) -> None:
        require_option(self, RATIO_LEVELS, "ratio_level")
        require_option(self, SURROGATES, "surrogate")
        require_option(self, LOSS_LEVELS, "level")
        require_range(self, 0, 1, "clip_low")
        require_range(self, 0, math.inf, "clip_high")
        require_range(self, 1e-6, math.inf, "tau_positive", "tau_negative")
        if self.dual_clip is not None:
            require(self.surrogate == "clip", "dual_clip", f"does not apply to surrogate={self.surrogate}", "set null")
            # Below 1 + clip_high the dual clip would also cut ratios that the normal clip lets through.
            above_clip = 1 + self.clip_high < self.dual_clip < math.inf
            require(above_clip, "dual_clip", f"{self.dual_clip} is not above 1 + clip_high = {1 + self.clip_high:g}")


@dataclass(frozen=True)
class MismatchSettings:
    """Correction for a rollout engine whose token probabilities differ from the trainer's."""

    correction: str = "none"
    """Weight each token by the ratio trainer probability / rollout probability, of the token or the sequence: none,
    token_truncate, token_mask, sequence_truncate or sequence_mask. truncate: ratios above cap become cap. mask: the
    weight is 0 for ratios outside [floor, cap]."""
    cap: float = 2.0
    """Largest ratio allowed."""
    floor: float = 0.0
    """Smallest ratio allowed by a mask."""

    def __post_init__(self) -> None:
        require_option(self, CORRECTIONS, "correction")
        require_range(self, 0, math.inf, "cap", "floor")
        if self.floor:
            text = f"applies only to masks, not to correction={self.correction}"
            require(self.masks, "floor", text, "set 0")
        if self.correction != "none":
            require(self.floor < self.cap, "cap", "must be above floor")

    @property
    def masks(self) -> bool:
        """Whether tokens with a ratio outside the bounds get weight 0."""
        return self.correction.endswith("mask")


@dataclass(frozen=True)
class KLSettings:
    """KL penalty that keeps the policy close to the initial policy."""

    coefficient: float = 0.0
    """Weight of the penalty in the loss. 0: no penalty, and no reference model is loaded."""
    estimator: str = "k3"
    """k1, k2 or k3. `training.losses.kl_penalty` explains what the value and the gradient of each one estimate."""

    def __post_init__(self) -> None:
        require_option(self, KL_ESTIMATORS, "estimator")
        require_range(self, 0, math.inf, "coefficient")


@dataclass(frozen=True)
class BudgetEntropySettings:
    """Entropy bonus on the budget field (ours).

    loss -= c * mean over completions of the entropy of the budget field, in nats per digit.
    """

    start: float = 0.006
    """Value of c at the first step."""
    end: float = 0.0
    """Final value of c. c changes linearly from start to end."""
    end_at: float = 0.85
    """Share of training after which c stays at its final value."""

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "start", "end")
        require_range(self, 0, 1, "end_at")

    def at(self, progress: float) -> float:
        """Return the coefficient c at `progress` (0 at the first step, 1 at the last)."""
        return anneal("linear", self.start, self.end, progress, self.end_at)


@dataclass(frozen=True)
class Algorithm:
    """The choices in which GRPO (arXiv 2402.03300) and its variants differ.

    docs/algorithms.md lists which paper introduced which choice.
    """

    name: str = "budget_grpo"
    """An option in conf/algorithm/, or any name for your own combination of settings."""
    advantage: AdvantageSettings = field(default_factory=AdvantageSettings)
    groups: GroupSettings = field(default_factory=GroupSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    mismatch: MismatchSettings = field(default_factory=MismatchSettings)
    kl: KLSettings = field(default_factory=KLSettings)
    budget_entropy: BudgetEntropySettings = field(default_factory=BudgetEntropySettings)
    optimizer_steps_per_rollout: int = 1
    """Number of minibatches that the prompts of a rollout are split into, with one optimizer step each. At 1, training
    is strictly on-policy."""

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "name", "must not be empty")
        require_range(self, 1, math.inf, "optimizer_steps_per_rollout")

    # The properties below implement the protocol `rewards.reward.AlgorithmTraits`: rewards use them to check whether
    # they have any effect with this algorithm.

    @property
    def scaled_by_group(self) -> bool:
        """Whether the reward, or each component of it, is divided by its std in the group.

        If so, even a small reward difference can become a large advantage.
        """
        return self.advantage.scale == "group" or self.advantage.per_component

    @property
    def std_floor(self) -> float:
        """The number added to every std before dividing by it."""
        return self.advantage.std_floor

    @property
    def per_component(self) -> bool:
        """Whether each component of the reward is standardized separately."""
        return self.advantage.per_component

    @property
    def drop_equal_groups(self) -> str:
        """Which groups are dropped: none, or those whose rewards (`reward`) or verdicts (`verdict`) are all equal."""
        return self.groups.drop_equal
