"""The sums that an optimizer step collects over its micro-batches and ranks, and the metrics computed from them."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Tally:
    """Sums over the completion tokens of a micro-batch, except where a field says otherwise.

    `+` combines tallies of different tokens, and also partial tallies of the same tokens: a field that was not
    computed is 0.
    """

    tokens: int = 0
    completions: int = 0
    """Number of completions."""
    clipped: float = 0.0
    """Number of tokens that the clip acted on."""
    ratio: float = 0.0
    ratio_max: float = 0.0
    """Maximum ratio."""
    kl_old: float = 0.0
    """KL(old policy || new policy), in nats."""
    kl: float = 0.0
    """KL(policy || reference), in nats."""
    mismatch: float = 0.0
    """|log-probability by the trainer - log-probability by the rollout engine|, in nats."""
    mismatch_max: float = 0.0
    """Maximum mismatch."""
    mismatch_cut: float = 0.0
    """Number of tokens that the mismatch correction acted on."""
    surprise: float = 0.0
    """-log p of the drawn tokens under the policy that drew them, in nats."""
    budget_entropy: float = 0.0
    """Entropy in nats, summed over the budget field only."""

    def __add__(self, other: "Tally") -> "Tally":
        combined: dict[str, float] = {}
        for field in fields(self):
            pair = (getattr(self, field.name), getattr(other, field.name))
            # Maxima are the only fields that do not add up; their names mark them.
            combined[field.name] = max(pair) if field.name.endswith("_max") else sum(pair)
        return Tally(**combined)  # pyright: ignore[reportArgumentType]: counts stay int

    def means(self) -> dict[str, float]:
        """Return the metrics to log: means per token, except `budget_entropy`, which is per completion.

        `clip_fraction` and `mismatch_cut` are fractions of the tokens. `entropy` is a Monte Carlo estimate: the mean of
        -log p over drawn tokens.
        """
        # A step whose completions are all masked has no tokens; its metrics are 0.
        tokens, completions = max(1, self.tokens), max(1, self.completions)
        return {
            "clip_fraction": self.clipped / tokens,
            "ratio": self.ratio / tokens,
            "ratio_max": self.ratio_max,
            "kl_old": self.kl_old / tokens,
            "kl": self.kl / tokens,
            "mismatch": self.mismatch / tokens,
            "mismatch_max": self.mismatch_max,
            "mismatch_cut": self.mismatch_cut / tokens,
            "entropy": self.surprise / tokens,
            "budget_entropy": self.budget_entropy / completions,
        }
