"""What an optimizer step adds up over its micro-batches and ranks, and logs."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Tally:
    """Sums over the completion tokens of a micro-batch, unless said otherwise.

    `+` adds what is from different tokens, and puts together what was found out about the same ones: what is not
    known is 0.
    """

    tokens: int = 0
    completions: int = 0
    """Number of them."""
    clipped: float = 0.0
    """Tokens on which the clip acted."""
    ratio: float = 0.0
    ratio_max: float = 0.0
    """The largest."""
    kl_old: float = 0.0
    """KL(old policy || new), in nats."""
    kl: float = 0.0
    """KL(policy || reference), in nats."""
    mismatch: float = 0.0
    """Distance of the trainer's log-probability from the rollout engine's."""
    mismatch_max: float = 0.0
    """The largest."""
    mismatch_cut: float = 0.0
    """Tokens on which the correction of the mismatch acted."""
    surprise: float = 0.0
    """-log p under the policy that wrote them."""
    budget_entropy: float = 0.0
    """Over the tokens that decide the budget alone."""

    def __add__(self, other: "Tally") -> "Tally":
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Tally(**{name: max(pair) if name.endswith("_max") else sum(pair) for name, pair in pairs.items()})

    def means(self) -> dict[str, float]:
        """The numbers to log, per token; the entropy of the budget per completion.

        `entropy` is estimated from the drawn tokens. `clip_fraction` and `mismatch_cut` are shares of the tokens.
        """
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
