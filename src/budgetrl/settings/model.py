"""The `model` group."""

from dataclasses import dataclass

from budgetrl.core.errors import SettingError
from budgetrl.data.mini.tasks import TASKS
from budgetrl.formats.formats import FORMATS, DifficultyFormat, ResponseFormat

DTYPES = ("auto", "float32", "bfloat16")
LENGTHS = ("body", "response")
MINI = tuple(TASKS)
"""Names that stand for shipped checkpoints rather than a folder or a Hub name: one model for each generated task."""


@dataclass(frozen=True)
class ModelSettings:
    """Which model, and how it is asked."""

    name: str = "mini"
    """Short name for run folders and tables."""
    path: str = "mini"
    """A Hugging Face folder or Hub name, or "mini" or "mini_tradeoff": the shipped checkpoint that fits the stage."""
    revision: str | None = None
    """Hub revision (a commit); null takes the newest."""
    dtype: str = "auto"
    """auto (bfloat16 on GPUs, float32 on CPUs), float32 or bfloat16."""
    instruction: str = ""
    """Added below each problem when the model answers without a budget."""
    budget_instruction: str = ""
    """Added below each problem when the model is to write its budget first."""
    prompt_budget_instruction: str = ""
    """Added below each problem when the prompt asks for a number of tokens; {budget} stands for it."""
    difficulty_instruction: str = ""
    """Added below each problem when the model is to call it easy or hard first."""
    difficulty_tags: tuple[str, str] = ("[Easy]", "[Hard]")
    """What a response begins with that calls its problem easy, and hard."""
    length: str = "body"
    """Which tokens count as length l: body (between the solution tags) or response (all but the end token)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more compute."""
    parameters: int | None = None
    """How many it has, for the plan of a model that is not on this machine yet; null: unknown until then."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingError("dtype", f"must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.prompt_budget_instruction and "{budget}" not in self.prompt_budget_instruction:
            raise SettingError("prompt_budget_instruction", "must say {budget} where the number of tokens is to stand")
        if len({tag.strip() for tag in self.difficulty_tags} - {""}) < 2:
            raise SettingError("difficulty_tags", "must be two different texts, for easy and for hard")
        if self.length not in LENGTHS:
            raise SettingError("length", f"must be one of {', '.join(LENGTHS)}, got {self.length!r}")

    def response_format(self, name: str) -> ResponseFormat:
        """The response format of a name, with this model's own tags."""
        return DifficultyFormat(*self.difficulty_tags) if name == "difficulty" else FORMATS[name]

    def instructions(self, fmt: ResponseFormat) -> str:
        """What is added below each problem in a format; may hold {budget}."""
        return {
            "plain": self.instruction,
            "budget": self.budget_instruction,
            "prompt_budget": self.prompt_budget_instruction,
            "difficulty": self.difficulty_instruction,
        }[fmt.name]
