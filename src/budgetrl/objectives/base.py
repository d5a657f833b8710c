"""The interface of all supervised objectives: a frozen dataclass that computes the loss of each response token."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

# Settings import objectives, and settings must not import torch. Objectives only call methods of their tensors.
if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective(ABC):
    """Base class of losses on given responses. The fields are the configuration; `objective.<field>=...` sets them."""

    name: str = ""
    """The option under conf/objective/, or the import path of your own class."""

    @abstractmethod
    def token_losses(self, logprobs: "Tensor", weights: "Tensor") -> "Tensor":
        """Return the contribution of each response token to the loss of an optimizer step [N]. N may be 0.

        Args:
            logprobs: log-probability of each token given the preceding ones [N], float32, in nats.
            weights: weight of each token [N]: its weight in the data, divided by the number of response tokens in the
                whole batch of the optimizer step.

        The loss is the sum of all returned values over all micro-batches and ranks. So return `weights` times a
        function of `logprobs` for each token, and do not average.
        """
        # `weights` is already normalized over the whole batch. A mean over the N tokens here would make the loss
        # depend on how the batch is split into micro-batches.
