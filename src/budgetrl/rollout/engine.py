"""The one interface every rollout engine has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from budgetrl.core.records import Completion


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a completion; the one drawn is kept as its last token."""


class RolloutEngine(Protocol):
    """Writes completions with the policy it was built on."""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Completion]]:
        """One list of completions per prompt, one completion per seed (`seeds[p]` are prompt p's).

        The uniform that draws token t of a completion depends on its seed and on t alone, so the
        same seeds give the same completions whatever the batch split, up to floating-point ties.
        Log-probabilities are of the drawn token under the distribution it was drawn from
        (temperature applied; at temperature 0: under the untempered distribution).
        """
        ...
