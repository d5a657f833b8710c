"""The standard fine-tuning loss: negative log-likelihood of each token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from budgetrl.objectives.base import Objective

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Supervised(Objective):
    """Weighted next-token loss: -w log p for each token, where w is its weight in the data (1 by default).

    Over the whole batch, this is the weighted sum divided by the number of response tokens.
    """

    name: str = "supervised"

    def token_losses(self, logprobs: "Tensor", weights: "Tensor") -> "Tensor":
        return -(weights * logprobs)
