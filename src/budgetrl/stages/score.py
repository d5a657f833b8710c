"""`score`: what a reward makes of responses that exist already, without a model or a GPU."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from budgetrl.core.records import Problem
from budgetrl.data.responses import InputRow, abbreviated, read_input_rows
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.grader import GradingInput, ParsedResponse, grade
from budgetrl.grading.repetition import repetition
from budgetrl.grading.rows import (
    b_max_from_row,
    graded_columns,
    outcome_from_row,
    outcomes_by_problem,
    verdict_from_row,
    verification_rates,
)
from budgetrl.grading.verifier import Verifier, open_verifier
from budgetrl.metrics.keys import REWARD, is_reward, reward_part
from budgetrl.metrics.summary import summarize
from budgetrl.rewards.reward import Reward, total
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, write_lines
from budgetrl.runs.stop import Stopped
from budgetrl.settings.config import Config
from budgetrl.settings.stages.score import SCORES, Score

if TYPE_CHECKING:  # outcomes are scored without it, and it takes seconds to import
    from budgetrl.policy.codec import TextCodec

ROWS_PER_CHUNK = 256
"""Completions graded between two looks at the progress bar and at the stop flag."""


def run(stage: Score, config: Config, ctx: Context) -> dict[str, float]:
    """Score the rows of the input, write them, and return their `summary`."""
    fmt = stage.response_format(config)
    lines = read_input_rows(Path(str(stage.input)), fmt, stage.input_format, config.dataset)
    rows = with_rewards(with_outcomes(lines, fmt, config, ctx), config.reward, stage.progress)
    output = Path(stage.output) if stage.output else ctx.folder.path / SCORES
    write_lines(output, rows)
    ctx.print(f"scores: {output}")
    return summary(rows)


def with_outcomes(lines: Sequence[InputRow], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
    """The rows with all fields of an outcome; those of completions are read and graded for it.

    Raises:
        RequestError: naming file and line, for an answer or a completion that cannot be read.
    """
    waiting = [line for line in lines if line.needs_grading]
    graded = iter(_grade_all(waiting, fmt, config, ctx) if waiting else [])
    return [next(graded) if line.needs_grading else line.row for line in lines]


def with_rewards(rows: Sequence[Row], reward: Reward, progress: float) -> list[Row]:
    """The rows, in their order, with the reward of each in its group, and its parts."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["problem_id"]].append(place)
    rewarded = list(rows)
    for places in groups.values():
        group = [outcome_from_row(rows[place]) for place in places]
        parts = reward.checked_parts(group, progress)
        columns = {REWARD: total(parts)}
        for name, values in parts.items():
            columns[reward_part(name)] = values
        for n, place in enumerate(places):
            rewarded[place] = {**rows[place], **{key: values[n] for key, values in columns.items()}}
    return rewarded


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """The mean reward and its parts, the metrics of an evaluation, and how much there was to score."""
    groups = outcomes_by_problem(rows)
    rewards = {key: fmean(row[key] for row in rows) for key in rows[0] if is_reward(key)}
    verdicts = [verdict_from_row(row) for row in rows if "completion" in row]
    verification = verification_rates(verdicts) if verdicts else {}
    counts = {"rows": float(len(rows)), "groups": float(len(groups))}
    return {**rewards, **summarize(groups).flat(), **verification, **counts}


# Completions


def _grade_all(lines: Sequence[InputRow], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
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
            responses = [_grading_input(line, fmt, codec, config.reward.repetition_ngram) for line in chunk]
            for line, graded in zip(chunk, grade(responses, verifier), strict=True):
                rows.append({**line.row, **graded_columns(graded)})
            bar.update(len(chunk))
    return rows


def _grading_input(line: InputRow, fmt: ResponseFormat, codec: "TextCodec", ngram: int | None) -> GradingInput:
    """A row's completion, read as training would read it."""
    row, response = line.row, _read_completion(line, fmt, codec)
    return GradingInput(
        problem=Problem(row["problem_id"], str(row.get("problem", "")), _gold(line), row["level"]),
        response=response,
        truncated=row["truncated"],
        b_max=b_max_from_row(row),
        asked_budget=row["budget"] if fmt.budget_in == "prompt" else None,
        repetition=repetition(response.body_ids, ngram),
    )


def _read_completion(line: InputRow, fmt: ResponseFormat, codec: "TextCodec") -> ParsedResponse:
    """Tokenize and read a completion. A tokenizer that cannot write a text cannot measure it either."""
    text = line.row["completion"]
    ids = codec.tokenizer.encode(text, add_special_tokens=False)
    if _bare(codec.decode(ids)) != _bare(text):
        path = codec.spec.path
        raise line.error("completion", f"model.path={path} cannot write this text; name the model that wrote it")
    return codec.read(ids, fmt)


def _bare(text: str) -> str:
    """A text without what tokenizers may change in it: blanks, and which Unicode form a character has."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _refuse_unreadable_answers(lines: Sequence[InputRow], verifier: Verifier) -> None:
    """Refuse gold answers that math-verify cannot parse: no response could be right by them."""
    first: dict[str, InputRow] = {}
    for line in lines:
        first.setdefault(_gold(line), line)
    for gold, readable in zip(first, verifier.can_parse(list(first)), strict=True):
        if not readable:
            raise first[gold].error("answer", f"{abbreviated(gold)} cannot be parsed; fix or remove the row")


def _gold(line: InputRow) -> str:
    return str(line.row["answer"]).strip()
