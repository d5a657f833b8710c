"""What every engine is: requests in, completions out."""

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
    """Generates completions. Its life: `open`, then `generate` and `sync` as often as needed, then `close`.

    As a context manager it is closed at the end:

        with make_engine(config.rollout) as engine:
            engine.open(codec, model)
            completions = engine.generate(requests)
    """

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.version = 0
        """The version of the weights that it generates with: how many optimizer steps they have taken."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self.settings.capabilities

    @abstractmethod
    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """Get ready to generate.

        `codec` is the tokenizer of the model that is asked. `model` are its weights, which a local engine
        needs; any other engine finds them by itself. ValueError for a model that the engine cannot run.
        """

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """The completions, in the order of the requests.

        The uniform that draws token t of a completion depends on its seed and on t alone, so the
        same seeds give the same completions whatever the batch split, up to floating-point ties.
        Log-probabilities are of the drawn token under the distribution it was drawn from
        (temperature applied; at temperature 0: under the untempered distribution).
        """

    def run_programs(self, programs: Sequence[RunningProgram]) -> None:
        """Bring programs of a decoding method to their answers: here by prompts that hold what they go on from."""
        run_in_rounds(self.generate, programs)

    @abstractmethod
    def sync(self, version: int) -> None:
        """Take over the weights in training, which have taken `version` optimizer steps.

        Call it on every rank after an update, before completions are generated. RuntimeError if the engine does not
        follow training.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the engine holds. It can be opened again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_engine(settings: S) -> Engine[S]:
    """The engine that the `rollout` group names; not opened yet."""
    module, _, name = settings.engine.rpartition(".")
    return getattr(import_module(module), name)(settings)
