"""`regrade`: grade the completions of a finished evaluation anew, without a model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import Learned, read_learned, write_learned
from budgetrl.grading.rows import Row, verdict_columns
from budgetrl.grading.verifier import Verifier, open_verifier
from budgetrl.report.against import Earlier
from budgetrl.rollout.provenance import Hashes, grader_hash
from budgetrl.runs.context import Context
from budgetrl.runs.folder import RunFolder, read_rows
from budgetrl.settings.config import Config, read_config, to_yaml
from budgetrl.settings.stages.base import evaluated_sets
from budgetrl.settings.stages.evaluate import Evaluate
from budgetrl.settings.stages.regrade import Regrade
from budgetrl.stages import evaluate


def run(stage: Regrade, config: Config, ctx: Context) -> dict[str, float]:
    """Grade anew; returns the numbers that the evaluation would have had with today's grader."""
    source = RunFolder(str(stage.evaluation), writes=False)
    then = read_config(source.config)
    if not isinstance(then.stage, Evaluate):
        raise RequestError(
            f"stage.evaluation: {source.path} holds a run of stage={then.stage.name}; name one of stage=evaluate"
        )
    earlier = Earlier.read(Path(stage.against)) if stage.against else None
    with open_verifier(ctx) as verifier:
        asked = read_learned(source.path) or Learned(then.stage.asks(then), then.model.length)
        rows, hashes = regraded(source, asked.format, verifier)
    if earlier:
        earlier.require_alike(hashes)
    as_evaluated = replace(then, stage=replace(then.stage, against=stage.against))
    ctx.folder.write(ctx.folder.evaluation, to_yaml(as_evaluated))
    write_learned(ctx.folder.path, asked)
    return evaluate.finish(then.stage, rows, hashes, earlier, list(evaluated_sets(then)), ctx)


def regraded(source: RunFolder, fmt: ResponseFormat, verifier: Verifier) -> tuple[list[Row], Mapping[str, Hashes]]:
    """The rows of an evaluation with verdicts of today's grader, and the hashes they now have.

    What was measured in tokens stays, since it needs the tokens; a row's gold answer is its own.
    """
    rows: list[dict[str, Any]] = read_rows(source.completions)
    graded = verifier.grade([(row["answer"], fmt.parse(row["text"]).body(row["text"])) for row in rows])
    anew = [{**row, **verdict_columns(verdict, row["truncated"])} for row, verdict in zip(rows, graded, strict=True)]
    hashes: dict[str, Hashes] = json.loads(source.hashes.read_text())
    return anew, {name: {**one, "grader": grader_hash()} for name, one in hashes.items()}
