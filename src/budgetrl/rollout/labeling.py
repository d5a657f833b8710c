"""Reference lengths (b_max) of problems: measure them with a model, and read them back from the labels file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
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
    """Generate samples for each problem and write one row per problem to the run's labels file. Returns the rows."""

    def make_rows(share: Sequence[Problem]) -> list[list[Row]]:
        budgets = asked_budgets(config, collector.fmt, "label", share)
        groups = collector.collect(share, sampling_seeds(config, "label", share, stage.samples), budgets)
        return [[_row(group, collector)] for group in groups]

    at_once = config.rollout.completions_at_once
    return work_through(problems, make_rows, ctx.folder.path / LABELS, 1, at_once, "labeling", ctx)


def _row(group: Sequence[Sample], collector: Collector) -> Row:
    """Return the labels row of one problem. b_max is the length of its shortest correct, well-formed sample."""
    outcomes = [sample.outcome for sample in group]
    right = [outcome.length for outcome in outcomes if outcome.correct and outcome.well_formed]
    # Round up to a budget that the tokenizer can write: a smaller b_max would penalize the sample it came from.
    b_max = collector.codec.writable(min(right), at_least=True) if right else None
    length = fmean(outcome.length for outcome in outcomes)
    return {"problem_id": group[0].problem.id, "b_max": b_max, "length": length, "right": len(right)}


def read_labels(path: Path, problems: Sequence[Problem]) -> Mapping[str, float]:
    """Return b_max by problem id. It is infinite where the initial model was wrong.

    Raises:
        RequestError: The file does not exist, or has no label for one of the problems.
    """
    if not path.exists():
        raise RequestError(Message("stage.labels", f"there is no file {path}", "stage=label writes one"))
    labels: dict[str, float] = {}
    for row in read_rows(path):
        labels[row["problem_id"]] = math.inf if row["b_max"] is None else row["b_max"]
    missing = [problem.id for problem in problems if problem.id not in labels]
    if missing:
        text = f"{path} has no label for {len(missing)} of {len(problems)} problems, such as {missing[0]}"
        raise RequestError(Message("stage.labels", text, "label the same data set, or lower stage.problems"))
    return labels
