"""`score`: what a reward makes of responses that exist already, without a model or a GPU."""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from budgetrl.budget.checks import require_option, require_range
from budgetrl.budget.errors import RequestError
from budgetrl.budget.format import FORMAT_NAMES, ResponseFormat
from budgetrl.budget.metrics import summarise
from budgetrl.data.jsonl import read_objects
from budgetrl.data.samples import HARNESSES, logged_completions
from budgetrl.data.spec import DatasetSpec
from budgetrl.policy.codec import Reading, TextCodec
from budgetrl.policy.loading import load_tokenizer, make_codec, resolve_path
from budgetrl.rewards.shape import Shape
from budgetrl.rollout.collect import repetition
from budgetrl.run.folder import write_lines
from budgetrl.run.stop import Stopped
from budgetrl.stages.base import Context, Job, Stage, chosen_format
from budgetrl.stages.generation import open_verifier
from budgetrl.stages.rows import Row, outcome_of, outcomes_by_problem, verdict_columns, verification_rates
from budgetrl.verify.pool import Verifier

SCORES = "scores.jsonl"
OURS = "budgetrl"
ROWS_PER_CHUNK = 256
"""Completions graded between two looks at the progress bar and at the stop flag."""


@dataclass(frozen=True)
class Score(Stage):
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
    input_format: str = OURS
    """budgetrl, or the samples that lm_eval (lm-evaluation-harness) or lighteval (Parquet, too) logged."""
    output: str | None = None
    """JSONL file to write; null: scores.jsonl in the run folder."""
    progress: float = 1.0
    """Where in training the reward's schedules stand: 0 is the first step, 1 the last."""
    format: str = "auto"
    """How the responses are laid out: auto (as the reward reads them, else plain), plain, budget, ..."""

    reported: ClassVar[bool] = False
    runs_model: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "progress")
        require_option(self, FORMAT_NAMES, "format")
        require_option(self, (OURS, *HARNESSES), "input_format")

    def plan(self, job: Job, ranks: int) -> dict[str, object]:
        output = self.output or f"{SCORES} in the run folder"
        return {"input": self.input, "output": output, **job.reward.schedule(self.progress)}

    def check(self, job: Job) -> list[str]:
        wrong = []
        needed, reward = job.reward.needs_format, job.reward.name
        if needed and needed != chosen_format(self.format, job).name:
            wrong.append(f"stage.format: reward={reward} reads the {needed} format; set stage.format={needed}, or auto")
        if getattr(job.reward, "max_length", 0) is None:
            wrong.append(f"reward.max_length: reward={reward} reads the longest length allowed; give it, in tokens")
        if self.input is None:
            wrong.append("stage.input: must be given, as a JSONL file of completions or outcomes")
        elif not Path(self.input).is_file():
            wrong.append(f"stage.input: there is no file {self.input}")
        elif self.output and Path(self.output).resolve() == Path(self.input).resolve():
            wrong.append(f"stage.output: {self.output} is the input itself; name another file")
        return wrong

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        if not ctx.world.leads or self.input is None:
            return {}
        fmt = chosen_format(self.format, job)
        lines = read_lines(Path(self.input), fmt, self.input_format, job.dataset)
        rows = with_rewards(with_outcomes(lines, fmt, job, ctx), job.reward, self.progress)
        output = Path(self.output) if self.output else ctx.folder.path / SCORES
        write_lines(output, rows)
        ctx.say(f"scores: {output}")
        return summary(rows)


@dataclass(frozen=True)
class Line:
    """One row of the input, and where it stands."""

    where: str
    """File and line."""
    row: Row

    @property
    def to_grade(self) -> bool:
        """Whether the row holds a completion rather than an outcome."""
        return "completion" in self.row

    def error(self, key: str, complaint: str) -> RequestError:
        """What to raise about a key of this row."""
        return RequestError(f"{self.where}: {key}: {complaint}")


def with_outcomes(lines: Sequence[Line], fmt: ResponseFormat, job: Job, ctx: Context) -> list[Row]:
    """The rows with all fields of an outcome; those of completions are read and graded for it.

    Raises:
        RequestError: naming file and line, for an answer or a completion that cannot be read.
    """
    waiting = [line for line in lines if line.to_grade]
    graded = iter(_grade_all(waiting, fmt, job, ctx) if waiting else [])
    return [next(graded) if line.to_grade else line.row for line in lines]


def with_rewards(rows: Sequence[Row], shape: Shape, progress: float) -> list[Row]:
    """The rows, in their order, with the reward of each in its group, and its parts."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["problem_id"]].append(place)
    rewarded = list(rows)
    for places in groups.values():
        group = [outcome_of(rows[place]) for place in places]
        columns = {"reward": shape(group, progress)}
        columns |= {f"reward/{name}": values for name, values in shape.parts(group, progress).items()}
        for n, place in enumerate(places):
            rewarded[place] = {**rows[place], **{key: values[n] for key, values in columns.items()}}
    return rewarded


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """The mean reward and its parts, the metrics of an evaluation, and how much there was to score."""
    groups = outcomes_by_problem(rows)
    rewards = {key: fmean(row[key] for row in rows) for key in rows[0] if _is_reward(key)}
    graded = [row for row in rows if "parsed" in row and "completion" in row]
    verification = verification_rates(graded) if graded else {}
    counts = {"rows": float(len(rows)), "groups": float(len(groups))}
    return {**rewards, **summarise(groups), **verification, **counts}


# Completions


def _grade_all(lines: Sequence[Line], fmt: ResponseFormat, job: Job, ctx: Context) -> list[Row]:
    path = resolve_path(job.model, fmt)
    codec = make_codec(load_tokenizer(path, job.model.revision), job.model)
    rows: list[Row] = []
    with open_verifier(ctx) as verifier, ctx.progress.track(len(lines), "grading") as bar:
        _refuse_unreadable_answers(lines, verifier)
        for start in range(0, len(lines), ROWS_PER_CHUNK):
            if ctx.stop.requested:
                raise Stopped
            chunk = lines[start : start + ROWS_PER_CHUNK]
            rows += _grade(chunk, fmt, codec, verifier, job.reward.repetition_ngram)
            bar.update(len(chunk))
    return rows


def _grade(
    lines: Sequence[Line], fmt: ResponseFormat, codec: TextCodec, verifier: Verifier, ngram: int | None
) -> list[Row]:
    readings = [_read_completion(line, fmt, codec) for line in lines]
    verdicts = verifier.grade([(_gold(line), r.body) for line, r in zip(lines, readings, strict=True)])
    return [
        {
            **line.row,
            "well_formed": reading.parsed.well_formed and not line.row["truncated"],
            **verdict_columns(verdict, line.row["truncated"]),
            "budget": line.row["budget"] if fmt.budget_in == "prompt" else reading.parsed.budget,
            "length": reading.length,
            "thinking_length": reading.thinking_length,
            "easy": reading.parsed.easy,
            "repetition": repetition(reading.body_ids, ngram) if ngram else 0.0,
        }
        for line, reading, verdict in zip(lines, readings, verdicts, strict=True)
    ]


def _read_completion(line: Line, fmt: ResponseFormat, codec: TextCodec) -> Reading:
    """Read a completion as training would. A tokenizer that cannot write a text cannot measure it either."""
    text = line.row["completion"]
    ids = codec.tokenizer.encode(text, add_special_tokens=False)
    if _bare(codec.decode(ids)) != _bare(text):
        path = codec.spec.path
        raise line.error("completion", f"model.path={path} cannot write this text; name the model that wrote it")
    return codec.read(ids, fmt)


def _bare(text: str) -> str:
    """A text without what tokenizers may change in it: blanks, and which Unicode form a character has."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _refuse_unreadable_answers(lines: Sequence[Line], verifier: Verifier) -> None:
    """No response could be right by an answer that is no value."""
    first: dict[str, Line] = {}
    for line in lines:
        first.setdefault(_gold(line), line)
    for gold, readable in zip(first, verifier.readable(list(first)), strict=True):
        if not readable:
            raise first[gold].error("answer", f"{_shown(gold)} is no value; mend it, or leave the row out")


def _gold(line: Line) -> str:
    return str(line.row["answer"]).strip()


# The input


def read_lines(path: Path, fmt: ResponseFormat, form: str, dataset: DatasetSpec) -> list[Line]:
    """The checked rows of a file in the input format `form`, empty lines left out and optional keys filled in.

    Raises:
        RequestError: naming file, line and key, for a row that holds too little, too much or something else.
    """
    rows = list(read_objects(path)) if form == OURS else logged_completions(path, form, dataset)
    if not rows:
        raise RequestError(f"{path}: there is no row in it; give a row for each response")
    return [_line(where, row, fmt) for where, row in rows]


def _line(where: str, row: Row, fmt: ResponseFormat) -> Line:
    line = Line(where, {key: _as_whole(key, value) for key, value in row.items() if not _is_reward(key)})
    if fault := next(_faults(line, fmt), None):
        raise fault
    absent = {key: value for key, value in _defaults(line).items() if key not in row}
    # Other graders may find an answer in a text that was cut off; here it has none.
    verdict = {"correct": False} if row.get("truncated") and not line.to_grade else {}
    return Line(where, {**line.row, **absent, **verdict, "problem_id": str(row["problem_id"])})


def _faults(line: Line, fmt: ResponseFormat) -> Iterator[RequestError]:
    """What is wrong with a row, the most basic first."""
    row = line.row
    required = _required(line, fmt)
    for key in _MEASURED:
        if line.to_grade and key in row and key not in required:
            yield line.error(key, "stands beside a completion, which tells it too; leave out one of the two")
    for key in required:
        if key not in row:
            yield line.error(key, f"is missing; {_WHAT_A_ROW_HOLDS}")
    for key, (fits, wanted) in _KINDS.items():
        ours = line.to_grade or key != "answer"  # of an outcome it is handed through
        if ours and key in row and not fits(row[key]):
            yield line.error(key, f"must be {wanted}, not {_shown(row[key])}")
    if row.get("well_formed") and row.get("truncated"):
        yield line.error("truncated", "true in a well-formed response; one that was cut off is malformed")
    budget = row.get("budget")
    if row.get("well_formed") and not (fmt.budget_in is None if budget is None else budget >= 1):
        said = f"{_shown(budget)} in a well-formed response; give 1 or more, or set well_formed to false"
        yield line.error("budget", said)


def _required(line: Line, fmt: ResponseFormat) -> tuple[str, ...]:
    """A budget is read off a completion, unless it stood in the prompt."""
    keys = _COMPLETION_KEYS if line.to_grade else _OUTCOME_KEYS
    has_budget = fmt.budget_in == "prompt" or (fmt.budget_in == "response" and not line.to_grade)
    return (*keys, "budget") if has_budget else keys


def _defaults(line: Line) -> dict[str, Any]:
    optional: dict[str, Any] = {"b_max": None, "level": None, "truncated": False}
    told = {"budget": None, "thinking_length": None, "easy": None, "repetition": 0.0}
    return optional if line.to_grade else {**optional, **told}


def _is_reward(key: str) -> bool:
    """Whether a key holds a reward; in the input it is one of an earlier scoring."""
    return key == "reward" or key.startswith("reward/")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


MOST_SHOWN = 60
"""Characters of a wrong value in an error."""


def _as_whole(key: str, value: Any) -> Any:
    """100.0 as 100 where a whole number is wanted: pandas writes floats once a column has a gap."""
    return int(value) if key in _WHOLE and isinstance(value, float) and value.is_integer() else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


_COMPLETION_KEYS = ("problem_id", "completion", "answer")
_OUTCOME_KEYS = ("problem_id", "well_formed", "correct", "length")
_MEASURED = ("well_formed", "correct", "budget", "length", "thinking_length", "easy", "repetition", "given_answer")
_WHAT_A_ROW_HOLDS = (
    "a row holds problem_id and either completion and answer, or well_formed, correct, length and, where the format "
    "has one, budget"
)
_FLAG = (lambda v: isinstance(v, bool), "true or false")
_NAME = (lambda v: _is_whole(v) or (isinstance(v, str) and v != ""), "a text or a whole number")
_ANSWER = (lambda v: _is_number(v) or (isinstance(v, str) and v.strip() != ""), "a text or a number")
_COUNT_OR_NONE = (lambda v: v is None or _is_count(v), "a number of tokens, or null for none")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "problem_id": _NAME,
    "completion": (lambda v: isinstance(v, str), "a text"),
    "answer": _ANSWER,
    "well_formed": _FLAG,
    "correct": _FLAG,
    "truncated": _FLAG,
    "length": (_is_count, "a number of tokens"),
    "budget": _COUNT_OR_NONE,
    "thinking_length": _COUNT_OR_NONE,
    "b_max": (lambda v: v is None or (_is_number(v) and v > 0), "a positive number, or null for infinite"),
    "easy": (lambda v: v is None or isinstance(v, bool), "true, false, or null for no tag"),
    "given_answer": (lambda v: v is None or isinstance(v, str), "a text, or null for none"),
    "repetition": (lambda v: _is_number(v) and 0 <= v <= 1, "a share from 0 to 1"),
    "level": (lambda v: v is None or _is_whole(v), "a whole number, or null for none"),
}
"""What each key may hold, where a row has it."""
_WHOLE = ("problem_id", "length", "budget", "thinking_length", "level")
