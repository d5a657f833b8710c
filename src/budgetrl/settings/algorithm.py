"""What turns rewards into a loss: the `algorithm` group."""

import math
from dataclasses import dataclass

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.schedules import anneal

BASELINES = ("mean", "leave_one_out")
ADVANTAGE_SCALES = ("group", "batch", "tokens", "none")
RATIO_LEVELS = ("token", "sequence")
SURROGATES = ("clip", "cispo", "sapo")
EQUALITIES = ("none", "reward", "verdict")
LOSS_LEVELS = ("token", "sequence", "constant")
KL_ESTIMATORS = ("k1", "k2", "k3")
MISMATCHES = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


@dataclass(frozen=True)
class Algorithm:
    """The parts in which GRPO (arXiv 2402.03300) and its relatives differ; each option chooses some.

    `advantages` documents the formulas of the first parts, `losses` those of the others, and
    docs/algorithms.md who published which. The entropy bonus on the budget field is ours.
    """

    name: str = "budget_grpo"
    """The option under conf/algorithm/, or any name for a combination of your own."""
    baseline: str = "mean"
    """What a reward is compared with: the group's mean, or leave_one_out, the mean of the others (RLOO)."""
    advantage_scale: str = "group"
    """What advantages are divided by, plus std_floor: the std of rewards in the group or in the batch.
    tokens: shifted and scaled to mean 0 and std 1 over all tokens (REINFORCE++). none: by nothing (Dr. GRPO)."""
    std_floor: float = 0.01
    """Added to every std that something is divided by: keeps nearly equal rewards from being blown up."""
    per_component: bool = False
    """Standardize each part of the reward in its group, then add them up, in place of the reward (GDPO)."""
    difficulty_weighting: bool = False
    """Weigh advantages by how hard the group found its problem (GRPO-LEAD)."""
    drop_equal_groups: str = "none"
    """Replace groups in which every reward, or every verdict (DAPO's dynamic sampling), is the same, by those of
    further prompts: none, reward or verdict."""
    max_rollouts: int = 10
    """Most rollouts to fill a batch where equal groups are dropped; what is missing then is made up of those."""
    mask_truncated: bool = False
    """Leave truncated completions out of the loss (DAPO's overlong filtering). They still count among the
    completions by which loss_level=sequence and constant divide, as in TRL."""
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
    loss_level: str = "token"
    """token: every token of the batch weighs the same. sequence: every completion does.
    constant: every token weighs 1 / (completions * longest completion allowed), whatever their lengths."""
    mismatch: str = "none"
    """Weigh each token by how much likelier the trainer thinks it than the rollout engine did: over the
    token or the sequence; truncate: at most mismatch_cap; mask: 0 outside of mismatch_floor to mismatch_cap."""
    mismatch_cap: float = 2.0
    """Largest such ratio."""
    mismatch_floor: float = 0.0
    """Smallest such ratio that a mask lets pass."""
    kl_coefficient: float = 0.0
    """Weight of the KL penalty to the initial policy. 0: off, and no reference model is loaded."""
    kl_estimator: str = "k3"
    """k1, k2 or k3; `losses.kl_penalty` says what each one's value and gradient estimate."""
    optimizer_steps_per_rollout: int = 1
    """The prompts of a rollout are split into that many minibatches, one optimizer step each."""
    budget_entropy_start: float = 0.006
    """Entropy bonus: loss -= c * mean over completions of the entropy of the budget field, in nats per digit."""
    budget_entropy_end: float = 0.0
    """Where c ends; it falls linearly."""
    budget_entropy_end_at: float = 0.85
    """Share of training at which c reaches its end value, to be held from there on."""

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "name", "must not be empty")
        require_option(self, BASELINES, "baseline")
        require_option(self, ADVANTAGE_SCALES, "advantage_scale")
        require_option(self, RATIO_LEVELS, "ratio_level")
        require_option(self, SURROGATES, "surrogate")
        require_option(self, LOSS_LEVELS, "loss_level")
        require_option(self, EQUALITIES, "drop_equal_groups")
        require_option(self, MISMATCHES, "mismatch")
        require_option(self, KL_ESTIMATORS, "kl_estimator")
        require_range(self, 0, 1, "clip_low", "budget_entropy_end_at")
        require_range(self, 0, math.inf, "std_floor", "clip_high", "mismatch_cap", "mismatch_floor", "kl_coefficient")
        require_range(self, 0, math.inf, "budget_entropy_start", "budget_entropy_end")
        require_range(self, 1e-6, math.inf, "tau_positive", "tau_negative")
        require_range(self, 1, math.inf, "max_rollouts", "optimizer_steps_per_rollout")
        self._refuse_what_makes_no_sense()

    def _refuse_what_makes_no_sense(self) -> None:
        twice = self.per_component and self.advantage_scale == "group"
        require(
            not twice, "advantage_scale", "per_component has scaled each group; choose batch (GDPO), tokens or none"
        )
        idle = self.drops_groups and self.max_rollouts == 1
        require(not idle, "max_rollouts", "drop_equal_groups replaces nothing in 1 rollout; allow 2 or more")
        if self.dual_clip is not None:
            require(self.surrogate == "clip", "dual_clip", f"surrogate={self.surrogate} has none; set it to null")
            require(
                1 + self.clip_high < self.dual_clip < math.inf,
                "dual_clip",
                f"{self.dual_clip} is not above 1 + clip_high = {1 + self.clip_high:g}",
            )
        if self.mismatch_floor:
            masks = self.mismatch.endswith("mask")
            require(masks, "mismatch_floor", f"only a mask has a floor, not mismatch={self.mismatch}; set it to 0")
        if self.mismatch != "none":
            require(self.mismatch_floor < self.mismatch_cap, "mismatch_cap", "must be above mismatch_floor")

    @property
    def drops_groups(self) -> bool:
        """Whether a batch may take several rollouts, up to `max_rollouts`."""
        return self.drop_equal_groups != "none"

    @property
    def scaled_by_group(self) -> bool:
        """Whether the reward, or each part of it, is divided by its std in the group: small differences grow."""
        return self.advantage_scale == "group" or self.per_component

    def budget_entropy(self, progress: float) -> float:
        """The coefficient c of the entropy bonus at `progress` (0 at the first step, 1 at the last)."""
        start, end = self.budget_entropy_start, self.budget_entropy_end
        return anneal("linear", start, end, progress, self.budget_entropy_end_at)
