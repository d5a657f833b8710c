"""`regrade`: grade the completions of a finished evaluation again with the current grader, without a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
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
    """Grade the completions again and return the metrics that the evaluation would have with the current grader.

    Raises:
        RequestError: `stage.evaluation` is not an evaluation, or is not comparable with `stage.against`.
    """
    source = RunFolder(str(stage.evaluation), writes=False)
    # The folder may itself come from stage=regrade; it then has a copy of the original evaluation's configuration.
    then = read_config(source.evaluation if source.evaluation.exists() else source.config)
    if not isinstance(then.stage, Evaluate):
        text = f"{source.path} holds a run of stage={then.stage.name}"
        raise RequestError(Message("stage.evaluation", text, "name the folder of a finished stage=evaluate"))
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
    """Return the rows with all grades replaced by the current grader's. Gold answers come from the rows themselves."""
    graded = grade([grading_input_from_row(row, fmt) for row in rows], verifier)
    new_rows: list[Row] = []
    for row, row_graded in zip(rows, graded, strict=True):
        new_rows.append({**row, **graded_columns(row_graded)})
    return new_rows


def _with_this_grader(hashes: Mapping[str, Hashes]) -> dict[str, Hashes]:
    """Return the hashes of each data set with the current grader's in place of the old one."""
    return {dataset: {**before, "grader": grader_hash()} for dataset, before in hashes.items()}
