"""The `model` group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from budgetrl.core.errors import SettingError
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LENGTH_KINDS
from budgetrl.formats.registry import format_class
from budgetrl.settings.strict import build

DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class ModelSettings:
    """Which model, and how it is asked."""

    name: str = "mini"
    """Short name for run folders and tables."""
    path: str = "mini"
    """A Hugging Face folder or Hub name, or a shipped checkpoint: "mini/base", "mini/cold_start", "mini/trained", and
    the same of "mini_tradeoff". "mini" alone is the one that fits the stage's response format."""
    revision: str | None = None
    """Hub revision (a commit); null takes the newest."""
    dtype: str = "auto"
    """auto (bfloat16 on GPUs, float32 on CPUs), float32 or bfloat16."""
    formats: dict[str, Any] = field(default_factory=dict)
    """Settings of response formats for this model, by a format's name or import path: how it is asked in each."""
    length: str = "body"
    """Which tokens count as length l: body (between the solution tags) or response (all but the end token)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more compute."""
    parameters: int | None = None
    """How many it has, for the plan of a model that is not on this machine yet; null: unknown until then."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingError("dtype", f"must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.length not in LENGTH_KINDS:
            raise SettingError("length", f"must be one of {', '.join(LENGTH_KINDS)}, got {self.length!r}")
        for name in self.formats:
            self.response_format(name)

    def response_format(self, name: str) -> ResponseFormat:
        """The format of a name or import path, with this model's own settings of it.

        ConfigError for a setting that the format does not have or refuses, SettingError for a name of no format.
        """
        try:
            cls = format_class(name)
        except SettingError as error:
            raise SettingError(f"formats.{name}", error.message.text, error.message.hint) from None
        own = self.formats.get(name) or {}
        fields = {**own, "name": name} if isinstance(own, Mapping) else own
        return build(cls, fields, f"model.formats.{name}")
