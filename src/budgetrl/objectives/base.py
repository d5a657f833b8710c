"""What every supervised objective is: a frozen dataclass that gives the loss of each token to be learned."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an objective only uses methods of the tensors that it is given
    from torch import Tensor


@dataclass(frozen=True)
class Objective(ABC):
    """A loss on given responses. Its fields are its configuration; `objective.<field>=...` sets them."""

    name: str = ""
    """The option under conf/objective/, or the import path of a class of your own."""

    @abstractmethod
    def token_losses(self, logprobs: "Tensor", weights: "Tensor") -> "Tensor":
        """The share of each response token in the loss of an optimizer step [N]; N may be 0.

        Args:
            logprobs: the log-probability of each token given those before it [N], float32, in nats.
            weights: how much each token counts [N]: its own weight in the data, divided by the number of response
                tokens in the whole batch of the optimizer step.

        The loss is the sum of what is returned, over all micro-batches on all ranks. So return `weights` times a
        function of `logprobs`, token by token, and no mean: then it cannot matter how the batch was split.
        """
