"""The base class of rollout engines: they take requests and return completions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from budgetrl.core.records import Completion, Request
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.programs import RunningProgram, run_in_rounds
from budgetrl.settings.rollout.base import Capabilities, RolloutSettings

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

S = TypeVar("S", bound=RolloutSettings)


class Engine(ABC, Generic[S]):
    """Generates completions. Call `open`, then `generate` and `sync` as often as needed, then `close`.

    As a context manager, the engine closes itself:

        with make_engine(config.rollout) as engine:
            engine.open(codec, model)
            completions = engine.generate(requests)
    """

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.version = 0
        """Version of the weights that the engine generates with: the number of optimizer steps taken so far."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do with its settings."""
        return self.settings.capabilities

    @abstractmethod
    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """Get ready to generate.

        Args:
            codec: the model's tokenizer and prompt rules.
            model: the model's weights. Required by a local engine; ignored by an engine that asks a server.

        Raises:
            ValueError: The engine cannot run this model, or it needs a model and got none.
        """

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the completions in the order of the requests.

        The uniform random number that samples token t depends only on the request's seed and on t. The same seeds
        therefore give the same completions in any batch split, except where floating-point noise breaks a tie.

        Log-probabilities are those of the sampled tokens under the distribution that they were sampled from, with
        temperature applied. At temperature 0 they come from the untempered distribution.
        """

    def run_programs(self, programs: Sequence[RunningProgram]) -> None:
        """Run programs of a decoding method until each has its answer.

        This default works on any engine: it sends the answer so far as part of each new prompt.
        """
        run_in_rounds(self.generate, programs)

    @abstractmethod
    def sync(self, version: int) -> None:
        """Switch to the current weights of the training run, which has taken `version` optimizer steps.

        Call it on every rank after an update and before the next `generate`.

        Raises:
            RuntimeError: The engine does not follow training.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the engine's resources. The engine can be opened again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_engine(settings: S) -> Engine[S]:
    """Create the engine of the `rollout` group. The caller must open it."""
    # Settings name their engine by import path, so that reading a configuration does not import torch.
    module, _, name = settings.engine.rpartition(".")
    return getattr(import_module(module), name)(settings)
