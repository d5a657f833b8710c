"""`score`: what a reward makes of responses that exist already, without a model or a GPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require_option, require_range
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.data.responses import BUDGETRL, INPUT_FORMATS
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import AUTO, require_format
from budgetrl.settings.stages.base import StageSettings, format_of_reward, reward_format_errors

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Score(StageSettings):
    """Rewards for the rows of a JSONL file; rows with one `problem_id`, adjacent or not, are a group.

    A row holds `problem_id`, and either

    - `completion` (the whole response, with anything that was given to the model) and the gold `answer`:
      it is read in `format`, graded, and measured with the tokenizer of `model.path`; or
    - `well_formed`, `correct`, `length` and, in formats with one, `budget`, and optionally `thinking_length`,
      `easy` (the difficulty tag), `repetition` (share of repeated n-grams) and `given_answer` (for maj@k): taken
      as they are.

    Where the budget stands in the prompt (L1), a completion is given its `budget` too. Both may have `b_max`
    (null or absent: infinite), `level` and `truncated` (what was cut off counts as malformed and wrong). Other keys
    are handed through. Written are the same rows in the same order, with whatever was found out about them,
    `reward` and a `reward/<part>` for each part of it.

    `input_format` reads what other harnesses logged instead (`budgetrl.data.samples`): a row of completion and answer
    for each of a doc's responses. The `dataset` group says in which fields the problem and its answer lie.

    The same command always scores again: the file's content is not part of what names the run.
    """

    name: str = "score"
    input: str | None = None
    """JSONL file of completions or outcomes; must be given."""
    input_format: str = BUDGETRL
    """budgetrl, or the samples that lm_eval (lm-evaluation-harness) or lighteval (Parquet, too) logged."""
    output: str | None = None
    """JSONL file to write; null: scores.jsonl in the run folder."""
    progress: float = 1.0
    """Where in training the reward's schedules stand: 0 is the first step, 1 the last."""
    format: str = "auto"
    """How the responses are laid out: auto (as the reward reads them, else plain), plain, budget, or the import path of
    a format of your own."""

    executor: ClassVar[str] = "budgetrl.stages.score"
    reported: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "progress")
        require_format(self.format, auto=True)
        require_option(self, INPUT_FORMATS, "input_format")

    def workload(self, config: "Config") -> Workload:
        output = self.output or f"{SCORES} in the run folder"
        return Workload({"input": self.input, "output": output, **config.reward.schedule(self.progress)})

    def errors(self, config: "Config") -> list[Message]:
        return [
            *reward_format_errors(self.response_format(config), config),
            *config.reward.missing(),
            *self._file_errors(),
        ]

    def response_format(self, config: "Config") -> ResponseFormat:
        """The format that the responses are read in."""
        return format_of_reward(config) if self.format == AUTO else config.model.response_format(self.format)

    def _file_errors(self) -> list[Message]:
        if self.input is None:
            return [Message("stage.input", "must be given, as a JSONL file of completions or outcomes")]
        if not Path(self.input).is_file():
            return [Message("stage.input", f"there is no file {self.input}")]
        if self.output and Path(self.output).resolve() == Path(self.input).resolve():
            return [Message("stage.output", f"{self.output} is the input itself", "name another file")]
        if self.output and Path(self.output).is_dir():
            return [Message("stage.output", f"{self.output} is a folder", "name a file in it")]
        return []
