"""The `model` group."""

from dataclasses import dataclass

DTYPES = ("auto", "float32", "bfloat16")
LENGTHS = ("body", "response")
MINI = ("mini",)
"""Names that stand for shipped checkpoints rather than a folder or a Hub name."""


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and how it is asked."""

    name: str = "mini"
    """Short name for run folders and tables."""
    path: str = "mini"
    """A Hugging Face folder or Hub name, or "mini": the shipped checkpoint that fits the stage."""
    revision: str | None = None
    """Hub revision (a commit); null takes the newest."""
    dtype: str = "auto"
    """auto (bfloat16 on GPUs, float32 on CPUs), float32 or bfloat16."""
    instruction: str = ""
    """Added below each problem when the model answers without a budget."""
    budget_instruction: str = ""
    """Added below each problem when the model is to write its budget first."""
    length: str = "body"
    """Which tokens count as length l: body (between the solution tags) or response (all but the end token)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more compute."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.length not in LENGTHS:
            raise ValueError(f"length: must be one of {', '.join(LENGTHS)}, got {self.length!r}")
