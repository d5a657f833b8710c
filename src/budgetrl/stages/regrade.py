"""`regrade`: grade the completions of a finished evaluation anew, without a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LearnedFormat, read_learned_format, write_learned_format
from budgetrl.grading.grader import grade
from budgetrl.grading.provenance import Hashes, grader_hash
from budgetrl.grading.rows import graded_columns, grading_input_from_row
from budgetrl.grading.verifier import Verifier, open_verifier
from budgetrl.report.against import EarlierEvaluation
from budgetrl.report.evaluation import write_evaluation
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, RunFolder, read_rows
from budgetrl.settings.config import Config, read_config, to_yaml
from budgetrl.settings.stages.base import evaluated_datasets
from budgetrl.settings.stages.evaluate import Evaluate
from budgetrl.settings.stages.regrade import Regrade


def run(stage: Regrade, config: Config, ctx: Context) -> dict[str, float]:
    """Grade anew; returns the numbers that the evaluation would have had with today's grader."""
    source = RunFolder(str(stage.evaluation), writes=False)
    # An evaluation that was graded anew before has the configuration of the first beside its own.
    then = read_config(source.evaluation if source.evaluation.exists() else source.config)
    if not isinstance(then.stage, Evaluate):
        raise RequestError(
            f"stage.evaluation: {source.path} holds a run of stage={then.stage.name}; name one of stage=evaluate"
        )
    earlier = EarlierEvaluation.read(Path(stage.against)) if stage.against else None
    with open_verifier(ctx) as verifier:
        asked = read_learned_format(source.path) or LearnedFormat(then.stage.resolve_format(then), then.model.length)
        rows = regraded(read_rows(source.completions), asked.format, verifier)
    hashes = _with_this_grader(json.loads(source.hashes.read_text()))
    if earlier:
        earlier.require_comparable(hashes)
    as_evaluated = replace(then, stage=replace(then.stage, against=stage.against))
    ctx.folder.write(ctx.folder.evaluation, to_yaml(as_evaluated))
    write_learned_format(ctx.folder.path, asked)
    return write_evaluation(then.stage, rows, hashes, earlier, list(evaluated_datasets(then)), ctx)


def regraded(rows: Sequence[Row], fmt: ResponseFormat, verifier: Verifier) -> list[Row]:
    """The rows of an evaluation as today's grader sees them. A row's gold answer is its own."""
    graded = grade([grading_input_from_row(row, fmt) for row in rows], verifier)
    return [{**row, **graded_columns(one)} for row, one in zip(rows, graded, strict=True)]


def _with_this_grader(hashes: Mapping[str, Hashes]) -> dict[str, Hashes]:
    """What the numbers of each data set depend on now: everything as it was, but for the grader."""
    return {dataset: {**before, "grader": grader_hash()} for dataset, before in hashes.items()}
