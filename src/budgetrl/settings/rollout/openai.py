"""`openai`: any server that speaks OpenAI's protocol."""

import math
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.settings.rollout.base import Capabilities, RolloutSettings

PROMPTS = ("ids", "text")


@dataclass(frozen=True)
class OpenAISettings(RolloutSettings):
    """A model that runs behind a server, which generates with the weights that it was started with."""

    name: str = "openai"
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

    engine: ClassVar[str] = "budgetrl.rollout.openai_engine.OpenAIEngine"

    def __post_init__(self) -> None:
        has_scheme = self.url.startswith(("http://", "https://"))
        require(has_scheme, "url", f"{self.url!r} does not begin with http:// or https://")
        require_option(self, PROMPTS, "prompts")
        require_range(self, 1, math.inf, "concurrency", "timeout")
        require_range(self, 0, math.inf, "retries")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(token_ids=self.prompts == "ids")

    @property
    def completions_at_once(self) -> int:
        return self.concurrency

    def server(self, ranks: int) -> dict[str, object]:
        return {"url": self.url, "requests at once": self.concurrency * ranks}

    def warnings(self, temperature: float) -> list[Message]:
        if self.prompts != "text" or temperature <= 0:
            return []
        text = (
            "text leaves sampling to the server, and transformers serve is greedy at any temperature unless the "
            "model's generation_config.json has do_sample"
        )
        return [Message("rollout.prompts", text)]
