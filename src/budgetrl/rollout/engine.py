"""The one interface every rollout engine has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from budgetrl.budget.checks import require, require_option, require_range
from budgetrl.budget.records import Completion


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


@dataclass(frozen=True)
class RolloutSpec:
    """The `rollout` group, for the engines that run the model here."""

    name: str = "native"
    """native or transformers."""
    batch_size: int = 128
    """Most completions decoded at once on one device."""

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "batch_size")


@dataclass(frozen=True)
class ServerSpec:
    """The `rollout` group, for a model that a server runs."""

    name: str = "openai"
    """openai: any server that speaks OpenAI's protocol."""
    url: str = "http://localhost:8000/v1"
    """Where the server is; /completions follows."""
    model: str | None = None
    """What the server calls the model; null: model.path."""
    prompts: str = "ids"
    """ids (vLLM, SGLang), or text for servers that take nothing else (transformers serve, TGI)."""
    concurrency: int = 32
    """Requests under way at once, from each rank."""
    retries: int = 6
    """Further attempts at a request that fails, after waits of 1, 2, 4, ... up to 30 seconds."""
    timeout: float = 1800.0
    """Seconds for one completion, all attempts and waits together."""
    api_key_env: str | None = None
    """Environment variable that holds the key, on each rank; null: the server asks for none."""

    def __post_init__(self) -> None:
        require(
            self.url.startswith(("http://", "https://")), "url", f"{self.url!r} does not begin with http:// or https://"
        )
        require_option(self, PROMPTS, "prompts")
        require_range(self, 1, math.inf, "concurrency", "timeout")
        require_range(self, 0, math.inf, "retries")

    @property
    def batch_size(self) -> int:
        """Completions that are written at once."""
        return self.concurrency


PROMPTS = ("ids", "text")

AnyRollout = RolloutSpec | ServerSpec

SPECS: dict[str, type[AnyRollout]] = {"native": RolloutSpec, "transformers": RolloutSpec, "openai": ServerSpec}


def rollout_class(name: str) -> type[AnyRollout]:
    """The settings that an engine has. Raises ValueError for a name that there is none of."""
    if name not in SPECS:
        raise ValueError(f"name: no engine is called {name!r}; there are {', '.join(SPECS)}")
    return SPECS[name]
