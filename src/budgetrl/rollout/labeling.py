"""Reference lengths of problems: asked of a model, or read from the file that was written then."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.rollout.seeds import asked_budgets, sampling_seeds
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, read_rows
from budgetrl.runs.resumable import work_through
from budgetrl.settings.config import Config
from budgetrl.settings.stages.label import LABELS, Label


def make_labels(
    stage: Label, problems: Sequence[Problem], collector: Collector, config: Config, ctx: Context
) -> list[Row]:
    """A row for each problem, in the run's labels file."""

    def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
        budgets = asked_budgets(config, collector.fmt, "label", share)
        groups = collector.collect(share, sampling_seeds(config, "label", share, stage.samples), budgets)
        return [[_row(group, collector)] for group in groups]

    at_once = config.rollout.completions_at_once
    return work_through(problems, make_rows, ctx.folder.path / LABELS, 1, at_once, "labeling", ctx)


def _row(group: Sequence[Sample], collector: Collector) -> Row:
    """b_max is rounded up to a budget that can be written: the one that just holds the answer goes unpunished."""
    right = [s.outcome.length for s in group if s.outcome.correct and s.outcome.well_formed]
    b_max = collector.codec.writable(min(right), at_least=True) if right else None
    length = fmean(s.outcome.length for s in group)
    return {"problem_id": group[0].problem.id, "b_max": b_max, "length": length, "right": len(right)}


def read_labels(path: Path, problems: Sequence[Problem]) -> Mapping[str, float]:
    """b_max by problem id. Raises RequestError for a problem that the file does not have."""
    if not path.exists():
        raise RequestError(f"stage.labels: there is no file {path}; stage=label writes one")
    labels = {row["problem_id"]: math.inf if row["b_max"] is None else row["b_max"] for row in read_rows(path)}
    missing = [p.id for p in problems if p.id not in labels]
    if missing:
        raise RequestError(
            f"stage.labels: {path} has no label for {len(missing)} of {len(problems)} problems, such as {missing[0]}; "
            "label the same data set, or lower stage.problems"
        )
    return labels
