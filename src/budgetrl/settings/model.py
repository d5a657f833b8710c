"""The `model` group: which model is used, and how it is prompted."""

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
    """Which model is used, and how it is prompted in each response format."""

    name: str = "mini"
    """Short name for run folders and tables."""
    path: str = "mini"
    """Hugging Face model folder, Hub name, or shipped checkpoint: mini/base, mini/cold_start, mini/trained, or the same
    for mini_tradeoff. `mini` alone selects the checkpoint that fits the stage's response format."""
    revision: str | None = None
    """Hub revision (a commit); null: the newest."""
    dtype: str = "auto"
    """auto (bfloat16 on GPUs, float32 on CPUs), float32 or bfloat16."""
    formats: dict[str, Any] = field(default_factory=dict)
    """Settings of each response format for this model, such as the instruction in the prompt. Keys are the names or
    import paths of formats."""
    length: str = "body"
    """Which tokens count as length l: body (between the solution tags) or response (all except the end token)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, which saves memory for about a third more compute."""
    parameters: int | None = None
    """Number of parameters, used by the plan if the model is not downloaded yet; null: unknown until then."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingError("dtype", f"must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.length not in LENGTH_KINDS:
            raise SettingError("length", f"must be one of {', '.join(LENGTH_KINDS)}, got {self.length!r}")
        for name in self.formats:  # reject wrong format settings now, even if this run does not use the format
            self.response_format(name)

    def response_format(self, name: str) -> ResponseFormat:
        """Return the response format of this name or import path, with this model's settings for it.

        Raises:
            ConfigError: if the settings have an unknown key or an invalid value.
            SettingError: about `formats.<name>`, if there is no such format.
        """
        try:
            cls = format_class(name)
        except SettingError as error:
            raise SettingError(f"formats.{name}", error.message.text, error.message.hint) from None
        fields = self.formats.get(name) or {}
        if isinstance(fields, Mapping):  # `build` rejects anything else with a message
            fields = {**fields, "name": name}
        return build(cls, fields, f"model.formats.{name}")
