"""`label`: compute the reference length b_max of each training problem with the initial model."""

from collections.abc import Sequence
from statistics import fmean

from budgetrl.data.usable import load_problems
from budgetrl.grading.verifier import open_verifier
from budgetrl.rollout.factory import open_collector
from budgetrl.rollout.labeling import make_labels
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row
from budgetrl.settings.config import Config
from budgetrl.settings.stages.label import Label


def run(stage: Label, config: Config, ctx: Context) -> dict[str, float]:
    """Label the training problems and return `label_metrics`."""
    fmt = stage.resolve_format(config)
    with open_verifier(ctx) as verifier:
        problems = load_problems(config.dataset, "train", stage.problems, verifier, ctx)
        with open_collector(fmt, stage, verifier, config, ctx) as collector:
            rows = make_labels(stage, problems, collector, config, ctx)
    return label_metrics(rows)


def label_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Return the number of problems, the fraction with a finite b_max, and the mean of those b_max in tokens."""
    # JSON has no infinity: null stands for it. b_max is infinite if the model never solved the problem.
    finite = [row["b_max"] for row in rows if row["b_max"] is not None]
    metrics = {"problems": float(len(rows)), "finite": len(finite) / len(rows)}
    if finite:
        metrics["b_max"] = fmean(finite)
    return metrics
