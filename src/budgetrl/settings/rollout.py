"""The `rollout` group: which engine generates completions, and how."""

import math
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.checks import require, require_option, require_range
from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.settings.auto import Rule, may_be_auto


@dataclass(frozen=True)
class RolloutSettings:
    """The `rollout` group, for the engines that run the model here."""

    name: str = "native"
    """native or transformers."""
    batch_size: int = may_be_auto(128, Rule.ROWS)
    """Most completions decoded at once on one device."""

    is_remote: ClassVar[bool] = False
    """Whether the model runs behind a server rather than on this machine's devices."""

    def __post_init__(self) -> None:
        require_range(self, 1, math.inf, "batch_size")

    def server(self, ranks: int) -> dict[str, object]:
        """What a plan says of the server; nothing, since there is none."""
        return {}

    def warnings(self, temperature: float) -> list[Message]:
        """What looks unintended about generating at this temperature."""
        return []


@dataclass(frozen=True)
class OpenAISettings:
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

    is_remote: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(
            self.url.startswith(("http://", "https://")), "url", f"{self.url!r} does not begin with http:// or https://"
        )
        require_option(self, PROMPTS, "prompts")
        require_range(self, 1, math.inf, "concurrency", "timeout")
        require_range(self, 0, math.inf, "retries")

    @property
    def batch_size(self) -> int:
        """Completions that are generated at once."""
        return self.concurrency

    def server(self, ranks: int) -> dict[str, object]:
        """What a plan says of the server."""
        return {"url": self.url, "requests at once": self.concurrency * ranks}

    def warnings(self, temperature: float) -> list[Message]:
        """What looks unintended about generating at this temperature."""
        if self.prompts != "text" or temperature <= 0:
            return []
        text = (
            "text leaves sampling to the server, and transformers serve is greedy at any temperature unless the "
            "model's generation_config.json has do_sample"
        )
        return [Message("rollout.prompts", text)]


PROMPTS = ("ids", "text")

AnyRollout = RolloutSettings | OpenAISettings

SPECS: dict[str, type[AnyRollout]] = {
    "native": RolloutSettings,
    "transformers": RolloutSettings,
    "openai": OpenAISettings,
}


def rollout_class(name: str) -> type[AnyRollout]:
    """The settings that an engine has. SettingError for a name that there is none of."""
    if name not in SPECS:
        raise SettingError("name", f"no engine is called {name!r}; there are {', '.join(SPECS)}")
    return SPECS[name]
