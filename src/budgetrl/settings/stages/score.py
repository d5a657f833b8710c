"""`score`: compute rewards for existing responses, without a model or a GPU."""

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
    """Compute the reward of every row of a JSONL file. Rows with the same `problem_id` form a group.

    Every row has a `problem_id`, and either

    - a completion: `completion` (the whole response, including any pre-filled part) and the gold `answer`. It is
      parsed in `format`, graded, and measured with the tokenizer of `model.path`. If the prompt contains the budget
      (L1), the row also needs `budget`; or
    - an outcome, used as it is: `well_formed`, `correct`, `length` and, in formats that have one, `budget`. Optional:
      `thinking_length`, `easy` (the difficulty tag), `repetition` (share of repeated n-grams) and `given_answer` (for
      maj@k).

    Any row may have `b_max` (null or absent: infinite), `level` and `truncated` (truncated responses count as malformed
    and wrong). Other keys are kept. The output has the same rows in the same order, with the outcome, `reward` and one
    `reward/<part>` for each component of the reward.

    `input_format` selects the logs of another harness instead (see `budgetrl.data.samples`), with one row for each
    response. The `dataset` group then says which fields hold the problem and its answer.

    The stage always runs again, even in a finished run folder, because the input file may have changed.
    """

    name: str = "score"
    input: str | None = None
    """JSONL file of completions or outcomes; required."""
    input_format: str = BUDGETRL
    """Format of the input: budgetrl, or samples logged by lm_eval (lm-evaluation-harness) or lighteval (JSONL or
    Parquet)."""
    output: str | None = None
    """JSONL file to write; null: scores.jsonl in the run folder."""
    progress: float = 1.0
    """Point of training at which the reward's schedules are evaluated, from 0 (first step) to 1 (last step)."""
    format: str = "auto"
    """Response format of the completions: auto (the format that the reward requires, else plain), plain, budget, or the
    import path of your own format."""

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
        """Return the format in which the responses are parsed."""
        return format_of_reward(config) if self.format == AUTO else config.model.response_format(self.format)

    def _file_errors(self) -> list[Message]:
        """Return an error if `input` or `output` cannot be used."""
        if self.input is None:
            return [Message("stage.input", "must be given, as a JSONL file of completions or outcomes")]
        if not Path(self.input).is_file():
            return [Message("stage.input", f"there is no file {self.input}")]
        # Compare resolved paths, so that ./rows.jsonl and rows.jsonl count as the same file.
        if self.output and Path(self.output).resolve() == Path(self.input).resolve():
            return [Message("stage.output", f"{self.output} is the input itself", "name another file")]
        if self.output and Path(self.output).is_dir():
            return [Message("stage.output", f"{self.output} is a folder", "name a file in it")]
        return []
