"""`score`: compute the rewards of existing responses, without a model or a GPU."""

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

if TYPE_CHECKING:  # takes seconds to import, and scoring outcomes does not need it
    from budgetrl.policy.codec import TextCodec

ROWS_PER_CHUNK = 256
"""Number of completions graded between two updates of the progress bar and checks for a stop request."""


def run(stage: Score, config: Config, ctx: Context) -> dict[str, float]:
    """Score the rows of the input file, write the scored rows, and return their `summary`."""
    fmt = stage.response_format(config)
    lines = read_input_rows(Path(str(stage.input)), fmt, stage.input_format, config.dataset)
    rows = with_outcomes(lines, fmt, config, ctx)
    rows = with_rewards(rows, config.reward, stage.progress)
    output = Path(stage.output) if stage.output else ctx.folder.path / SCORES
    write_lines(output, rows)
    ctx.print(f"scores: {output}")
    return summary(rows)


def with_outcomes(lines: Sequence[InputRow], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
    """Return the rows with all fields of an outcome. Rows that hold a completion are parsed and graded.

    Raises:
        RequestError: an answer or a completion cannot be parsed. The message names file and line.
    """
    ungraded = [line for line in lines if line.needs_grading]
    # Loading a tokenizer imports transformers, so do not start grading without need.
    graded = iter(_grade_all(ungraded, fmt, config, ctx) if ungraded else [])
    rows: list[Row] = []
    for line in lines:
        rows.append(next(graded) if line.needs_grading else line.row)
    return rows


def with_rewards(rows: Sequence[Row], reward: Reward, progress: float) -> list[Row]:
    """Return the rows, in the same order, with their reward and its parts.

    Rows with the same `problem_id` form a group, wherever they are in the file.
    """
    groups: dict[str, list[int]] = defaultdict(list)  # problem id -> indices of its rows
    for index, row in enumerate(rows):
        groups[row["problem_id"]].append(index)
    rewarded = list(rows)
    for indices in groups.values():
        group = [outcome_from_row(rows[index]) for index in indices]
        parts = reward.checked_parts(group, progress)
        rewards = total(parts)
        for n, index in enumerate(indices):
            row = {**rows[index], REWARD: rewards[n]}
            for name, values in parts.items():
                row[reward_part(name)] = values[n]
            rewarded[index] = row
    return rewarded


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean reward and its parts, the metrics of an evaluation, and the numbers of rows and groups."""
    groups = outcomes_by_problem(rows)
    rewards: dict[str, float] = {}
    for key in rows[0]:
        if is_reward(key):
            rewards[key] = fmean(row[key] for row in rows)
    verdicts = [verdict_from_row(row) for row in rows if "completion" in row]
    verification = verification_rates(verdicts) if verdicts else {}
    counts = {"rows": float(len(rows)), "groups": float(len(groups))}
    return {**rewards, **summarize(groups).flat(), **verification, **counts}


# Below: grading of completions.


def _grade_all(lines: Sequence[InputRow], fmt: ResponseFormat, config: Config, ctx: Context) -> list[Row]:
    """Tokenize, parse and grade the completions; return their rows with the fields of an outcome."""
    # Imported here: this takes seconds, and rows that are outcomes already do not need it.
    from budgetrl.policy.loading import load_tokenizer, make_codec, resolve_path

    path = resolve_path(config.model, fmt)
    codec = make_codec(load_tokenizer(path, config.model.revision), config.model)
    rows: list[Row] = []
    with open_verifier(ctx) as verifier, ctx.progress.track(len(lines), "grading") as bar:
        _check_gold_answers(lines, verifier)
        for start in range(0, len(lines), ROWS_PER_CHUNK):
            if ctx.stop.requested:
                raise Stopped
            chunk = lines[start : start + ROWS_PER_CHUNK]
            inputs = [_grading_input(line, fmt, codec, config.reward.repetition_ngram) for line in chunk]
            for line, graded in zip(chunk, grade(inputs, verifier), strict=True):
                rows.append({**line.row, **graded_columns(graded)})
            bar.update(len(chunk))
    return rows


def _grading_input(line: InputRow, fmt: ResponseFormat, codec: "TextCodec", ngram: int | None) -> GradingInput:
    """Return a row's completion, parsed exactly as training would parse it."""
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
    """Tokenize and parse a completion.

    Raises:
        RequestError: the tokenizer cannot represent the text, so token counts would be meaningless.
    """
    text = line.row["completion"]
    ids = codec.tokenizer.encode(text, add_special_tokens=False)
    if _normalized(codec.decode(ids)) != _normalized(text):
        problem = f"the tokenizer of model.path={codec.settings.path} cannot represent this text"
        raise line.error("completion", problem, "set model.path to the model that wrote it")
    return codec.read(ids, fmt)


def _normalized(text: str) -> str:
    """Return the text without what tokenizers may legitimately change: whitespace and Unicode normalization."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _check_gold_answers(lines: Sequence[InputRow], verifier: Verifier) -> None:
    """Raise RequestError for a gold answer that math-verify cannot parse: no response could match it."""
    first_row: dict[str, InputRow] = {}  # gold answer -> the first row that has it, to check each answer once
    for line in lines:
        first_row.setdefault(_gold(line), line)
    for gold, parsed in zip(first_row, verifier.can_parse(list(first_row)), strict=True):
        if not parsed:
            raise first_row[gold].error("answer", f"{abbreviated(gold)} cannot be parsed", "fix or remove the row")


def _gold(line: InputRow) -> str:
    """Return the gold answer of a row, which may be a number in the JSON."""
    return str(line.row["answer"]).strip()
