"""`score`: what a reward makes of responses that exist already, without a model or a GPU."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from budgetrl.data.responses import Line, is_reward, read_lines, shown
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.repetition import repetition
from budgetrl.grading.rows import Row, outcome_of, outcomes_by_problem, verdict_columns, verification_rates
from budgetrl.grading.verifier import Verifier, open_verifier
from budgetrl.metrics.summary import summarize
from budgetrl.rewards.reward import Reward
from budgetrl.runs.context import Context
from budgetrl.runs.folder import write_lines
from budgetrl.runs.stop import Stopped
from budgetrl.settings.config import Config
from budgetrl.settings.stages.score import SCORES, Score

if TYPE_CHECKING:  # outcomes are scored without it, and it takes seconds to import
    from budgetrl.policy.codec import Reading, TextCodec

ROWS_PER_CHUNK = 256
"""Completions graded between two looks at the progress bar and at the stop flag."""


def run(stage: Score, config: Config, ctx: Context) -> dict[str, float]:
    """Score the rows of the input, write them, and return their `summary`."""
    fmt = stage.read_as(config)
    lines = read_lines(Path(str(stage.input)), fmt, stage.input_format, config.dataset)
    rows = with_rewards(with_outcomes(lines, fmt, config, ctx), config.reward, stage.progress)
    output = Path(stage.output) if stage.output else ctx.folder.path / SCORES
    write_lines(output, rows)
    ctx.say(f"scores: {output}")
    return summary(rows)


def with_outcomes(lines: Sequence[Line], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
    """The rows with all fields of an outcome; those of completions are read and graded for it.

    Raises:
        RequestError: naming file and line, for an answer or a completion that cannot be read.
    """
    waiting = [line for line in lines if line.to_grade]
    graded = iter(_grade_all(waiting, fmt, config, ctx) if waiting else [])
    return [next(graded) if line.to_grade else line.row for line in lines]


def with_rewards(rows: Sequence[Row], reward: Reward, progress: float) -> list[Row]:
    """The rows, in their order, with the reward of each in its group, and its parts."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["problem_id"]].append(place)
    rewarded = list(rows)
    for places in groups.values():
        group = [outcome_of(rows[place]) for place in places]
        columns = {"reward": reward(group, progress)}
        columns |= {f"reward/{name}": values for name, values in reward.parts(group, progress).items()}
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


def _grade_all(lines: Sequence[Line], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
    from budgetrl.policy.loading import load_tokenizer, make_codec, resolve_path

    path = resolve_path(config.model, fmt)
    codec = make_codec(load_tokenizer(path, config.model.revision), config.model)
    rows: list[Row] = []
    with open_verifier(ctx) as verifier, ctx.progress.track(len(lines), "grading") as bar:
        _refuse_unreadable_answers(lines, verifier)
        for start in range(0, len(lines), ROWS_PER_CHUNK):
            if ctx.stop.requested:
                raise Stopped
            chunk = lines[start : start + ROWS_PER_CHUNK]
            rows += _grade(chunk, fmt, codec, verifier, config.reward.repetition_ngram)
            bar.update(len(chunk))
    return rows


def _grade(
    lines: Sequence[Line], fmt: ResponseFormat, codec: "TextCodec", verifier: Verifier, ngram: int | None
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


def _read_completion(line: Line, fmt: ResponseFormat, codec: "TextCodec") -> "Reading":
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
