"""`openai`: any server with an OpenAI-compatible completions API."""

import math
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.settings.rollout.base import Capabilities, RolloutSettings

PROMPTS = ("ids", "text")


@dataclass(frozen=True)
class OpenAISettings(RolloutSettings):
    """A model behind an OpenAI-compatible server. The server keeps the weights that it was started with."""

    name: str = "openai"
    url: str = "http://localhost:8000/v1"
    """Base URL of the server; /completions is appended."""
    model: str | None = None
    """Name of the model on the server; null: model.path."""
    prompts: str = "ids"
    """How prompts are sent: ids (vLLM, SGLang), or text for servers that accept only text (transformers serve, TGI)."""
    concurrency: int = 32
    """Concurrent requests per rank."""
    retries: int = 6
    """Retries of a failed request, after waits of 1, 2, 4, ... up to 30 seconds."""
    timeout: float = 1800.0
    """Time limit in seconds for one completion, including all retries and waits."""
    api_key_env: str | None = None
    """Environment variable that holds the API key on each rank; null: the server needs no key."""

    engine: ClassVar[str] = "budgetrl.rollout.openai_engine.OpenAIEngine"

    def __post_init__(self) -> None:
        has_scheme = self.url.startswith(("http://", "https://"))
        require(has_scheme, "url", f"{self.url!r} does not begin with http:// or https://")
        require_option(self, PROMPTS, "prompts")
        require_range(self, 1, math.inf, "concurrency", "timeout")
        require_range(self, 0, math.inf, "retries")

    @property
    def capabilities(self) -> Capabilities:
        # Servers that only take text accept few options. The weights on the server never change.
        takes_ids = self.prompts == "ids"
        return Capabilities(token_ids=takes_ids, sampling_options=takes_ids)

    @property
    def completions_at_once(self) -> int:
        return self.concurrency

    def server(self, ranks: int) -> dict[str, object]:
        return {"url": self.url, "requests at once": self.concurrency * ranks}

    def warnings(self, temperature: float) -> list[Message]:
        # Text prompts are for `transformers serve` and TGI; the former ignores the requested temperature unless the
        # model's own generation config turns sampling on.
        if self.prompts != "text" or temperature <= 0:
            return []
        text = "transformers serve decodes greedily, whatever the temperature, unless the model enables sampling"
        return [Message("rollout.prompts", text, "check that the model's generation_config.json has do_sample: true")]
