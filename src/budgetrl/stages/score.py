"""`score`: what a reward makes of responses that exist already, without a model or a GPU."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from budgetrl.core.checks import require_option, require_range
from budgetrl.data.responses import INPUT_FORMATS, OURS, Line, is_reward, read_lines, shown
from budgetrl.formats.formats import FORMAT_NAMES, ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.metrics.summary import summarize
from budgetrl.policy.codec import Reading, TextCodec
from budgetrl.policy.loading import load_tokenizer, make_codec, resolve_path
from budgetrl.rewards.reward import Reward
from budgetrl.rollout.collect import repetition
from budgetrl.runs.folder import write_lines
from budgetrl.runs.stop import Stopped
from budgetrl.stages.base import Context, Job, Stage, chosen_format, unread_format
from budgetrl.stages.generation import open_verifier
from budgetrl.stages.rows import Row, outcome_of, outcomes_by_problem, verdict_columns, verification_rates

SCORES = "scores.jsonl"
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
        require_option(self, INPUT_FORMATS, "input_format")

    def plan(self, job: Job) -> dict[str, object]:
        output = self.output or f"{SCORES} in the run folder"
        return {"input": self.input, "output": output, **job.reward.schedule(self.progress)}

    def check(self, job: Job) -> list[str]:
        wrong = [*unread_format(self.format, job), *job.reward.missing()]
        if self.input is None:
            wrong.append("stage.input: must be given, as a JSONL file of completions or outcomes")
        elif not Path(self.input).is_file():
            wrong.append(f"stage.input: there is no file {self.input}")
        elif self.output and Path(self.output).resolve() == Path(self.input).resolve():
            wrong.append(f"stage.output: {self.output} is the input itself; name another file")
        elif self.output and Path(self.output).is_dir():
            wrong.append(f"stage.output: {self.output} is a folder; name a file in it")
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


def with_outcomes(lines: Sequence[Line], fmt: ResponseFormat, job: Job, ctx: Context) -> list[Row]:
    """The rows with all fields of an outcome; those of completions are read and graded for it.

    Raises:
        RequestError: naming file and line, for an answer or a completion that cannot be read.
    """
    waiting = [line for line in lines if line.to_grade]
    graded = iter(_grade_all(waiting, fmt, job, ctx) if waiting else [])
    return [next(graded) if line.to_grade else line.row for line in lines]


def with_rewards(rows: Sequence[Row], shape: Reward, progress: float) -> list[Row]:
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
    rewards = {key: fmean(row[key] for row in rows) for key in rows[0] if is_reward(key)}
    graded = [row for row in rows if "parsed" in row and "completion" in row]
    verification = verification_rates(graded) if graded else {}
    counts = {"rows": float(len(rows)), "groups": float(len(groups))}
    return {**rewards, **summarize(groups), **verification, **counts}


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
            raise first[gold].error("answer", f"{shown(gold)} is no value; mend it, or leave the row out")


def _gold(line: Line) -> str:
    return str(line.row["answer"]).strip()
