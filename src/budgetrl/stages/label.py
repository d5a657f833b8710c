"""`label`: the reference length b_max of each training problem, from the initial model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from budgetrl.core.checks import require_count, require_option, require_range
from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.data.problems import count_problems
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.formats.formats import FORMATS
from budgetrl.rollout.collect import Collector, Sample
from budgetrl.runs.folder import read_rows
from budgetrl.stages.base import Context, Job, Stage, token_lines
from budgetrl.stages.generation import (
    asked_budgets,
    load_collector,
    open_verifier,
    problems_of,
    seeds_for,
    work_through,
)
from budgetrl.stages.rows import Row

LABELS = "labels.jsonl"


@dataclass(frozen=True)
class Label(Stage):
    """b_max is the model's own length where it was right, and infinite where it was wrong (the paper,
    Formula 5, with one sample a problem). Of several samples the shortest right one counts (ours): one
    sample is often a long one, and then a long budget is not punished."""

    name: str = "label"
    format: str = "plain"
    """plain for a model before the cold start, budget for one after it."""
    problems: int | None = 1600
    """Most training problems; null for all."""
    samples: int = 4
    """Completions of each problem, the shortest right one of which counts. The paper: 1."""
    temperature: float = 1.0
    """0 is greedy. The paper does not say."""
    max_new_tokens: int = 420
    """Longest completion, in tokens."""

    trains: ClassVar[bool] = False
    served: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_option(self, list(FORMATS), "format")
        require_range(self, 1, math.inf, "samples", "max_new_tokens")
        require_range(self, 0, math.inf, "temperature")
        require_count(self, "problems")

    def plan(self, job: Job) -> dict[str, object]:
        own = {"problems": self.problems or "all", "completions a problem": self.samples}
        return own | token_lines(self.most_written(job))

    def most_written(self, job: Job) -> int | None:
        """Tokens, if every completion runs into the limit; None where the problems are not counted yet."""
        problems = count_problems(job.dataset, "train", self.problems)
        return problems and problems * self.samples * self.max_new_tokens

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return [(job.dataset, "train")]

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        fmt = job.model.response_format(self.format)
        with open_verifier(ctx) as verifier:
            problems = problems_of(job.dataset, "train", self.problems, verifier, ctx)
            rows = self.label(problems, load_collector(fmt, self, verifier, job, ctx), job, ctx)
        return label_metrics(rows)

    def label(self, problems: Sequence[Problem], collector: Collector, job: Job, ctx: Context) -> list[Row]:
        """A row for each problem, in the run's labels file."""

        def work(share: Sequence[Problem]) -> list[list[Row]]:
            budgets = asked_budgets(job, collector.fmt, "label", share)
            groups = collector.collect(share, seeds_for(job, "label", share, self.samples), budgets)
            return [[_row(group, collector)] for group in groups]

        return work_through(problems, work, ctx.folder.path / LABELS, 1, "labeling", job, ctx)


def _row(group: Sequence[Sample], collector: Collector) -> Row:
    """b_max is rounded up to a budget that can be written: the one that just holds the answer goes unpunished."""
    right = [s.outcome.length for s in group if s.outcome.correct and s.outcome.well_formed]
    b_max = collector.codec.writable(min(right), at_least=True) if right else None
    length = fmean(s.outcome.length for s in group)
    return {"problem_id": group[0].problem.id, "b_max": b_max, "length": length, "right": len(right)}


def label_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """How many problems have a finite b_max, and its mean over them in tokens."""
    finite = [row["b_max"] for row in rows if row["b_max"] is not None]
    result = {"problems": float(len(rows)), "finite": len(finite) / len(rows)}
    return result | ({"b_max": fmean(finite)} if finite else {})


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
